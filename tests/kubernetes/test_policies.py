"""Exactly the drawn arrows: every pair of pods and every port, by the rendered policies and by the table."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.kubernetes.manifests import PROFILES, Manifest, Manifests, of_kind, templates
from tests.kubernetes.policies import may_connect

Render = Callable[..., Manifests]


def _labels(manifests: Manifests) -> dict[str, dict[str, str]]:
    return {component: template["metadata"]["labels"] for component, template in templates(manifests).items()}


def _open(manifests: Manifests, arrows: dict[str, Any]) -> set[tuple[str, str, str]]:
    policies, labels = of_kind(manifests, "NetworkPolicy"), _labels(manifests)
    return {
        (source, target, name)
        for source, target in itertools.permutations(labels, 2)
        for name, port in arrows["ports"][target].items()
        if may_connect(policies, labels[source], labels[target], port)
    }


def _drawn(arrows: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(each["from"], each["to"], each["port"]) for each in arrows["arrows"]}


@pytest.mark.parametrize("profile", PROFILES)
def test_pods_reach_each_other_by_the_arrows_and_by_nothing_else(
    rendered: Render, arrows: dict[str, Any], profile: str
) -> None:
    there = set(_labels(rendered(profile)))
    between_pods = {arrow for arrow in _drawn(arrows) if {arrow[0], arrow[1]} <= there}

    assert between_pods
    assert _open(rendered(profile), arrows) == between_pods


def test_without_policies_everything_is_open_so_the_evaluation_tells_them_apart(
    rendered: Render, arrows: dict[str, Any]
) -> None:
    manifests = rendered("small", "networkPolicies.enabled=false")

    assert not of_kind(manifests, "NetworkPolicy")
    assert ("dashboard", "postgresql", "postgres") in _open(manifests, arrows)


def _from_namespace(manifests: Manifests, namespace: str) -> set[tuple[str, int]]:
    wanted = {"kubernetes.io/metadata.name": namespace}
    return {
        (_component(policy), port["port"])
        for policy in of_kind(manifests, "NetworkPolicy")
        for rule in policy["spec"].get("ingress", ())
        if any(peer.get("namespaceSelector", {}).get("matchLabels") == wanted for peer in rule["from"])
        for port in rule["ports"]
    }


def _component(policy: Manifest) -> str:
    component: str = policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
    return component


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("name", "namespace"), [("controller", "ingress-nginx"), ("prometheus", "monitoring"), ("keda", "keda")]
)
def test_what_comes_from_outside_meets_the_drawn_ports_and_no_other(
    rendered: Render, arrows: dict[str, Any], profile: str, name: str, namespace: str
) -> None:
    changes = ("monitoring.serviceMonitor.enabled=true", "trainer.scaling=keda", "edge.enabled=false")
    drawn = {(to, arrows["ports"][to][port]) for source, to, port in _drawn(arrows) if source == name}

    assert _from_namespace(rendered(profile, *changes), namespace) == drawn


def test_only_the_edge_is_open_to_everybody(rendered: Render, arrows: dict[str, Any]) -> None:
    """And where there is an edge, no ingress controller gets past it."""
    opened = {
        (_component(policy), port["port"])
        for policy in of_kind(rendered("small"), "NetworkPolicy")
        for rule in policy["spec"].get("ingress") or ()
        if any("ipBlock" in peer for peer in rule["from"])
        for port in rule["ports"]
    }

    assert opened == {("edge", port) for port in arrows["ports"]["edge"].values()}
    assert not _from_namespace(rendered("small"), "ingress-nginx")


def test_nobody_looks_for_metrics_where_nobody_asked_for_them(rendered: Render) -> None:
    assert not _from_namespace(rendered("small"), "monitoring")
    assert not _from_namespace(rendered("small"), "keda")


def test_each_own_server_is_reached_at_its_address_by_whom_the_table_names(
    rendered: Render, arrows: dict[str, Any]
) -> None:
    addresses = {"192.0.2.10/32": "postgresql", "192.0.2.11/32": "minio", "192.0.2.12/32": "kafka"}
    reached = {
        (_component(policy), addresses[peer["ipBlock"]["cidr"]])
        for policy in of_kind(rendered("production"), "NetworkPolicy")
        for rule in policy["spec"].get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer
    }

    assert reached == {(source, target) for source, target, _ in _drawn(arrows) if target in arrows["external"]}
