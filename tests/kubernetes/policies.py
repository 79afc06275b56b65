"""What NetworkPolicies let through, by the rules of Kubernetes' API: pods that a policy selects are open to what some
policy lists, and to nothing else; a connection needs the sender's and the receiver's leave."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Labels = Mapping[str, str]
Manifest = Mapping[str, Any]


def may_connect(policies: Sequence[Manifest], source: Labels, target: Labels, port: int) -> bool:
    """Whether pods with the labels `source` reach TCP `port` of pods with the labels `target`, in one namespace."""
    return _lets(policies, "Egress", source, target, port) and _lets(policies, "Ingress", target, source, port)


def _lets(policies: Sequence[Manifest], way: str, own: Labels, other: Labels, port: int) -> bool:
    ruling = [
        each["spec"]
        for each in policies
        if _selects(each["spec"]["podSelector"], own) and way in each["spec"]["policyTypes"]
    ]
    rules = [rule for spec in ruling for rule in spec.get(way.lower()) or ()]
    side = "to" if way == "Egress" else "from"
    return not ruling or any(_peers(rule.get(side), other) and _ports(rule.get("ports"), port) for rule in rules)


def _peers(peers: Iterable[Manifest] | None, other: Labels) -> bool:
    """No peers at all mean everybody. Those of other namespaces and addresses are none of our pods."""
    if not peers:
        return True
    return any("namespaceSelector" not in peer and _selects(peer.get("podSelector"), other) for peer in peers)


def _ports(ports: Iterable[Manifest] | None, port: int) -> bool:
    return not ports or any(each["port"] == port and each.get("protocol", "TCP") == "TCP" for each in ports)


def _selects(selector: Manifest | None, labels: Labels) -> bool:
    if selector is None:
        return False
    assert set(selector) <= {"matchLabels"}, "this reads matchLabels only"
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
