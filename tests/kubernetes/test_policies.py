"""Exactly the drawn arrows: every pair of pods and every port, by the rendered policies and by the table."""

import itertools
from collections.abc import Callable
from typing import Any

from tests.kubernetes.policies import Manifest, may_connect

Manifests = list[dict[str, Any]]


def _policies(manifests: Manifests) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == "NetworkPolicy"]


def _labels(manifests: Manifests) -> dict[str, dict[str, str]]:
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in manifests if each["kind"] == "Deployment"]
    return {labels["app.kubernetes.io/component"]: labels for labels in pods}


def _open(manifests: Manifests, arrows: dict[str, Any]) -> set[tuple[str, str, str]]:
    policies, labels = _policies(manifests), _labels(manifests)
    pairs = itertools.permutations(labels, 2)
    return {
        (source, target, name)
        for source, target in pairs
        for name, port in arrows["ports"][target].items()
        if may_connect(policies, labels[source], labels[target], port)
    }


def _drawn(arrows: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(each["from"], each["to"], each["port"]) for each in arrows["arrows"]}


def test_pods_reach_each_other_by_the_arrows_and_by_nothing_else(
    rendered: Callable[..., Manifests], arrows: dict[str, Any]
) -> None:
    between_pods = {arrow for arrow in _drawn(arrows) if {arrow[0], arrow[1]} <= set(arrows["ports"])}

    assert set(_labels(rendered())) == set(arrows["ports"])
    assert _open(rendered(), arrows) == between_pods


def test_without_policies_everything_is_open_so_the_evaluation_tells_them_apart(
    rendered: Callable[..., Manifests], arrows: dict[str, Any]
) -> None:
    manifests = rendered("networkPolicies.enabled=false")

    assert not _policies(manifests)
    assert ("dashboard", "trainer", "ops") in _open(manifests, arrows)


def test_what_comes_from_outside_meets_no_operations_port(
    rendered: Callable[..., Manifests], arrows: dict[str, Any]
) -> None:
    from_outside = [each for each in arrows["arrows"] if each["from"] == "outside"]
    ops = {ports["ops"] for ports in arrows["ports"].values()}
    outside = {"kubernetes.io/metadata.name": "ingress-nginx"}
    rules = [rule for each in _policies(rendered()) for rule in each["spec"]["ingress"]]
    ports = [
        port["port"]
        for rule in rules
        if any(peer.get("namespaceSelector", {}).get("matchLabels") == outside for peer in rule["from"])
        for port in rule["ports"]
    ]

    assert len(ports) == len(from_outside)
    assert not ops & set(ports)
    services = [each for each in rendered() if each["kind"] == "Service"]
    assert not ops & {port["port"] for each in services for port in each["spec"]["ports"]}


def test_each_server_is_reached_by_whom_the_table_names(
    rendered: Callable[..., Manifests], arrows: dict[str, Any]
) -> None:
    numbers = {"records": 5432, "blobs": 443, "events": 9093}
    reached = {
        (each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"], name)
        for each in _policies(rendered())
        for rule in each["spec"]["egress"]
        for name, number in numbers.items()
        if rule["ports"] == [{"protocol": "TCP", "port": number}]
    }

    assert reached == {(source, target) for source, target, _ in _drawn(arrows) if target in numbers}
