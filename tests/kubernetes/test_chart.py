"""The chart renders, and its pods are restricted by construction."""

import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.kubernetes.manifests import (
    CHART,
    INCLUDED,
    KUBERNETES,
    PROFILES,
    SERVICES,
    Manifests,
    containers,
    files_of,
    of_kind,
    plain_settings,
    pods,
    templates,
)

Ask = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., Manifests]

CHANGES = (
    (),
    ("priorityClasses.create=false",),
    ("networkPolicies.enabled=false",),
    ("trainer.gpu.resource=nvidia.com/gpu", "trainer.gpu.count=2", "trainer.kueueQueue=labs"),
    ("image.registry=images.hospital.example/", "image.pullSecrets={own}", "ingest.image.tag=1.2.3"),
    ("ingest.nodeSelector.disk=ssd", "minio.tolerations[0].operator=Exists", "ingest.extraEnv[0].name=A"),
    ("ingest.replicas=1", "inference.replicas=5", "trainer.replicas=0"),
    ("trainer.scaling=fixed",),
    ("trainer.scaling=keda", "weights.existingClaim=weights"),
    ("trust.configMap=authorities", "trust.s3Key=ca.pem", "secrets.kafka.existingSecret=broker"),
    ("monitoring.serviceMonitor.enabled=true", "monitoring.prometheusRule.enabled=true"),
)
"""Options, switched in each profile."""

VOLUMES = {"emptyDir", "secret", "configMap", "projected", "persistentVolumeClaim"}
EVERYWHERE = [(profile, changes) for profile in PROFILES for changes in CHANGES]


def _expected(profile: str) -> set[str]:
    return SERVICES | (INCLUDED if profile == "small" else set())


@pytest.mark.parametrize("profile", PROFILES)
def test_the_linter_has_nothing_to_say(ask_helm: Ask, profile: str) -> None:
    values = str(CHART / f"values-{profile}.yaml")

    done = ask_helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES, "-f", values)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("profile", "changes"), EVERYWHERE, ids=str)
def test_every_pod_keeps_the_restricted_standard(rendered: Render, profile: str, changes: tuple[str, ...]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and what we promise beyond it."""
    made = pods(rendered(profile, *changes))

    assert set(made) == _expected(profile)
    for pod in made.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", each["name"]) for each in pod["volumes"])
        assert {kind for each in pod["volumes"] for kind in each if kind != "name"} <= VOLUMES
        for container in containers(pod):
            _restricted(container)


def _restricted(container: dict[str, Any]) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    assert not any("hostPort" in port for port in container.get("ports", ()))


def test_a_platform_that_numbers_users_itself_may_do_so(rendered: Render) -> None:
    made = pods(rendered("production", "security.runAsUser=null", "security.fsGroup=null"))

    for pod in made.values():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["securityContext"])
        assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("component", sorted(SERVICES))
def test_each_is_asked_whether_it_lives_and_works_on_its_operations_port(
    rendered: Render, arrows: dict[str, Any], profile: str, component: str
) -> None:
    (container,) = pods(rendered(profile))[component]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}

    assert ports == arrows["ports"][component]
    assert {each["port"] for each in probes.values()} == {"ops"}
    assert probes["readiness"]["path"] == "/readyz"
    assert probes["liveness"]["path"] == "/healthz"


def test_what_is_included_is_asked_too(rendered: Render, arrows: dict[str, Any]) -> None:
    for component in INCLUDED:
        (container,) = pods(rendered("small"))[component]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        assert {each["name"]: each["containerPort"] for each in container["ports"]} == arrows["ports"][component]


@pytest.mark.parametrize(("profile", "who"), [("small", {"migrate", "setup"}), ("production", {"migrate"})])
def test_the_owners_password_is_seen_where_the_database_is_made(rendered: Render, profile: str, who: set[str]) -> None:
    seeing = {
        container["name"]
        for pod in pods(rendered(profile)).values()
        for container in containers(pod)
        if any(path.endswith("owner-password") for path in files_of(pod, container))
    }

    assert seeing == who


@pytest.mark.parametrize("profile", PROFILES)
def test_every_secret_that_a_variable_names_is_mounted(rendered: Render, profile: str) -> None:
    manifests = rendered(profile)
    for component in SERVICES:
        pod = pods(manifests)[component]
        for container in containers(pod):
            settings = plain_settings(manifests, container)
            files = {value for name, value in settings.items() if name.endswith("_FILE") and "/trust/" not in value}
            assert files
            assert files <= files_of(pod, container)
            assert {each["name"] for each in container["volumeMounts"]} <= {each["name"] for each in pod["volumes"]}


@pytest.mark.parametrize("component", ["inference", "dashboard", "trainer"])
def test_only_ingest_sees_the_passwords_of_the_stores(rendered: Render, component: str) -> None:
    pod = pods(rendered("small"))[component]
    (container,) = pod["containers"]
    key = "worker-key" if component == "trainer" else "api-key"

    assert files_of(pod, container) == {f"/etc/aimic/secrets/keys/{key}"}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_secret_is_a_plain_setting(rendered: Render, profile: str) -> None:
    manifests = rendered(profile)
    for pod in pods(manifests).values():
        for container in containers(pod):
            names = plain_settings(manifests, container)
            assert not [name for name in names if name.endswith(("KEY", "PASSWORD", "SECRET"))]


def test_the_small_profile_draws_its_secrets_and_keeps_them(rendered: Render) -> None:
    secrets = of_kind(rendered("small"), "Secret")
    values = [value for each in secrets for value in each["data"].values()]

    names = {each["metadata"]["name"].removeprefix("hospital-aimic-") for each in secrets}
    assert names == {"keys", "postgresql", "postgresql-owner", "s3", "edge-tls"}
    assert {each["metadata"]["annotations"]["helm.sh/resource-policy"] for each in secrets} == {"keep"}
    assert len(set(values)) == len(values)
    assert min(map(len, values)) >= 40
    assert not of_kind(rendered("production"), "Secret")


def test_a_gpu_is_asked_for_by_its_resource_and_a_queue_by_its_label(rendered: Render) -> None:
    changed = rendered("small", "trainer.gpu.resource=nvidia.com/gpu", "trainer.gpu.count=2", "trainer.kueueQueue=labs")
    (with_gpu,) = pods(changed)["trainer"]["containers"]
    (without,) = pods(rendered("small"))["trainer"]["containers"]

    assert with_gpu["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert "nvidia.com/gpu" not in without["resources"]["limits"]
    assert templates(changed)["trainer"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "labs"


def test_trainers_come_by_keda_and_end_when_nothing_waits(rendered: Render) -> None:
    manifests = rendered("production")
    (job,) = of_kind(manifests, "ScaledJob")
    (container,) = pods(manifests)["trainer"]["containers"]
    (trigger,) = job["spec"]["triggers"]

    assert job["spec"]["scalingStrategy"] == {"strategy": "accurate"}
    assert job["spec"]["rollout"] == {"strategy": "gradual"}
    assert trigger["metadata"]["url"] == "http://hospital-aimic-ingest.default.svc:9000/metrics"
    assert plain_settings(manifests, container)["AIMIC_TRAINER_UNTIL_IDLE"] == "true"
    fixed = rendered("production", "trainer.scaling=fixed")
    assert "AIMIC_TRAINER_UNTIL_IDLE" not in plain_settings(fixed, pods(fixed)["trainer"]["containers"][0])


@pytest.mark.parametrize("profile", PROFILES)
def test_a_pod_is_given_longer_to_end_than_its_service_takes(rendered: Render, profile: str) -> None:
    manifests = rendered(profile)
    made = pods(manifests)
    (inference,), (trainer,) = made["inference"]["containers"], made["trainer"]["containers"]
    serving = plain_settings(manifests, inference)["AIMIC_INFERENCE_STOP_S"]
    checkpoint = plain_settings(manifests, trainer)["AIMIC_TRAINER_GRACE_S"]

    assert made["inference"]["terminationGracePeriodSeconds"] > int(serving) + 5
    assert made["trainer"]["terminationGracePeriodSeconds"] >= int(checkpoint) + 8


def test_one_pod_of_each_may_be_drained_at_a_time(rendered: Render) -> None:
    budgets = of_kind(rendered("small"), "PodDisruptionBudget")

    assert {each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"] for each in budgets} == {
        *SERVICES,
        "edge",
    }
    assert all(each["spec"]["maxUnavailable"] == 1 for each in budgets)


def test_images_come_from_where_the_hospital_keeps_them(rendered: Render) -> None:
    changes = ("image.registry=images.hospital.example/", "image.pullSecrets={own}", "ingest.image.tag=1.2.3")
    made = pods(rendered("small", *changes))

    assert {each["image"] for each in containers(made["ingest"])} == {"images.hospital.example/aimic/ingest:1.2.3"}
    assert made["trainer"]["containers"][0]["image"] == "images.hospital.example/aimic/trainer:0.1.0"
    assert made["kafka"]["containers"][0]["image"].startswith("images.hospital.example/apache/kafka:")
    assert all(pod["imagePullSecrets"] == [{"name": "own"}] for pod in made.values())
