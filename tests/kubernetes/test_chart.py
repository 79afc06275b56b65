"""The chart renders, refuses what can't work in words, and its pods are restricted by construction."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Manifests = list[dict[str, Any]]
Ask = Callable[..., subprocess.CompletedProcess[str]]

CHANGES = (
    (),
    ("priorityClasses.create=false",),
    ("networkPolicies.enabled=false",),
    ("secrets.kafka=",),
    ("trainer.gpu.resource=nvidia.com/gpu", "trainer.gpu.count=2"),
    ("image.registry=images.hospital.example", "image.pullSecrets={own}", "ingest.image.tag=1.2.3"),
    ("ingest.nodeSelector.disk=ssd", "ingest.tolerations[0].operator=Exists", "ingest.extraEnv[0].name=A"),
    ("ingest.replicas=1", "inference.replicas=5", "trainer.replicas=0"),
)
"""Each option, switched."""


def _pods(manifests: Manifests) -> dict[str, dict[str, Any]]:
    made = [each for each in manifests if each["kind"] == "Deployment"]
    return {each["metadata"]["name"].rsplit("-", 1)[1]: each["spec"]["template"]["spec"] for each in made}


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def test_the_linter_has_nothing_to_say(ask_helm: Ask) -> None:
    here = Path(__file__)
    chart = here.parents[2] / "helm" / "aimic"
    done = ask_helm(
        "lint", "--strict", str(chart), "--kube-version", "1.34.0", "-f", str(here.with_name("values.yaml"))
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: " ".join(changes) or "as they are")
def test_every_pod_keeps_the_restricted_standard(rendered: Callable[..., Manifests], changes: tuple[str, ...]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and what we promise beyond it."""
    pods = _pods(rendered(*changes))

    assert set(pods) == {"ingest", "inference", "dashboard", "trainer"}
    for pod in pods.values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", each["name"]) for each in pod["volumes"])
        assert {kind for each in pod["volumes"] for kind in each if kind != "name"} <= {"emptyDir", "secret"}
        for container in _containers(pod):
            security = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["securityContext"] == security
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            assert not any("hostPort" in port for port in container.get("ports", ()))


@pytest.mark.parametrize("component", ["ingest", "inference", "dashboard", "trainer"])
def test_each_is_asked_whether_it_lives_and_works_on_its_operations_port(
    rendered: Callable[..., Manifests], arrows: dict[str, Any], component: str
) -> None:
    (container,) = _pods(rendered())[component]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}

    assert ports == arrows["ports"][component]
    assert {each["port"] for each in probes.values()} == {"ops"}
    assert probes["readiness"]["path"] == "/readyz"
    assert probes["liveness"]["path"] == "/healthz"


def test_the_owners_password_is_seen_by_the_migration_alone(rendered: Callable[..., Manifests]) -> None:
    seeing = {
        container["name"]
        for pod in _pods(rendered()).values()
        for container in _containers(pod)
        for mount in container["volumeMounts"]
        if mount["name"] == "postgresql-owner"
    }

    assert seeing == {"migrate"}


def test_every_file_that_a_variable_names_is_mounted(rendered: Callable[..., Manifests]) -> None:
    for pod in _pods(rendered()).values():
        volumes = {each["name"] for each in pod["volumes"]}
        for container in _containers(pod):
            assert {each["name"] for each in container["volumeMounts"]} <= volumes
            places = [each["mountPath"] for each in container["volumeMounts"]]
            files = [each["value"] for each in container["env"] if each["name"].endswith("_FILE")]
            assert files
            assert all(any(file.startswith(f"{place}/") for place in places) for file in files), files


def test_secrets_are_named_and_never_written(rendered: Callable[..., Manifests]) -> None:
    assert not [each for each in rendered() if each["kind"] == "Secret"]
    for pod in _pods(rendered()).values():
        for container in _containers(pod):
            plain = [each["name"] for each in container["env"] if "value" in each]
            assert not [name for name in plain if name.endswith(("KEY", "PASSWORD", "SECRET"))]


def test_a_gpu_is_asked_for_by_its_resource(rendered: Callable[..., Manifests]) -> None:
    (with_gpu,) = _pods(rendered("trainer.gpu.resource=nvidia.com/gpu", "trainer.gpu.count=2"))["trainer"]["containers"]
    (without,) = _pods(rendered())["trainer"]["containers"]

    assert with_gpu["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert set(without["resources"]["limits"]) == {"memory"}


def test_two_replicas_may_lose_one_at_a_time_and_one_can_be_drained(rendered: Callable[..., Manifests]) -> None:
    def budgets(*changes: str) -> set[str]:
        return {each["metadata"]["name"] for each in rendered(*changes) if each["kind"] == "PodDisruptionBudget"}

    assert budgets() == {"hospital-aimic-ingest", "hospital-aimic-inference"}
    assert budgets("ingest.replicas=1", "inference.replicas=1") == set()


def test_images_come_from_where_the_hospital_keeps_them(rendered: Callable[..., Manifests]) -> None:
    changes = ("image.registry=images.hospital.example", "image.pullSecrets={own}", "ingest.image.tag=1.2.3")
    pods = _pods(rendered(*changes))

    assert {each["image"] for each in _containers(pods["ingest"])} == {"images.hospital.example/aimic/ingest:1.2.3"}
    assert pods["trainer"]["containers"][0]["image"] == "images.hospital.example/aimic/trainer:0.1.0"
    assert pods["ingest"]["imagePullSecrets"] == [{"name": "own"}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("secrets.s3=", "secrets.s3 is missing"),
        ("secrets.keys=", "secrets.keys is missing"),
        ("records.url=", "records.url is missing"),
        ("records.ownerUrl=", "records.ownerUrl is missing"),
        ("blobs.url=", "blobs.url is missing"),
        ("events.url=", "events.url is missing"),
        ("networkPolicies.outside=null", "networkPolicies.outside"),
        ("blobs.url=https://s3.example/aimic", "blobs"),
        ("records.url=postgresql+psycopg://aimic_app:secret@db.example/aimic", "records"),
        ("ingest.replicas=-1", "replicas"),
        ("ingest.replicas=many", "replicas"),
        ("ingest.scratch=lots", "scratch"),
        ("inference.resources.limits.memory=null", "limits"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("trainer.gpu.count=0", "count"),
        ("networkPolicies.records.port=70000", "port"),
        ("ingest.replica=3", "replica"),
    ],
)
def test_what_cannot_work_is_refused_by_its_name(said: Ask, change: str, words: str) -> None:
    done = said(change)

    assert done.returncode != 0
    assert words in done.stderr
