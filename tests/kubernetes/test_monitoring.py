"""What Prometheus and Grafana get of the chart speaks of metrics that exist, and every alert has its page."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.kubernetes.manifests import SERVICES, of_kind

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "aimic" / "files"
SUFFIX = re.compile(r"_(bucket|sum|count)$")
ON = tuple(f"monitoring.{part}.enabled=true" for part in ("serviceMonitor", "prometheusRule", "grafanaDashboard"))

Manifests = list[dict[str, Any]]


def _of(manifests: Manifests, kind: str) -> dict[str, Any]:
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found


def _queries(node: object) -> Iterator[str]:
    """Every `expr` and every query of a variable."""
    if isinstance(node, list):
        for each in node:
            yield from _queries(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from _queries(value)


def test_the_charts_alerts_are_those_that_are_tested() -> None:
    assert (FILES / "aimic.rules.yaml").read_text() == (ROOT / "k8s" / "alerts" / "aimic.rules.yaml").read_text()


def test_each_alert_leads_to_a_page_that_exists(rendered: Callable[..., Manifests]) -> None:
    rules = [
        rule for group in _of(rendered("small", *ON), "PrometheusRule")["spec"]["groups"] for rule in group["rules"]
    ]
    alerts = [rule for rule in rules if "alert" in rule]

    assert alerts
    for rule in alerts:
        assert (ROOT / rule["annotations"]["runbook_url"]).is_file(), rule["alert"]


def test_every_query_of_the_dashboard_names_metrics_that_the_services_export(
    rendered: Callable[..., Manifests],
) -> None:
    known = set(re.findall(r"aimic_[a-z0-9_]+", (ROOT / "docs" / "metrics.md").read_text()))
    maps = of_kind(rendered("small", *ON), "ConfigMap")
    (board,) = [text for each in maps for name, text in each["data"].items() if name.endswith(".json")]
    queries = list(_queries(json.loads(board)))
    named = {name for query in queries for name in re.findall(r"aimic_[a-z0-9_]+", query)}

    assert named
    assert {name for name in named if name not in known and SUFFIX.sub("", name) not in known} == set()


def test_the_operations_port_of_every_service_is_read(rendered: Callable[..., Manifests]) -> None:
    manifests = rendered("small", *ON)
    monitor = _of(manifests, "ServiceMonitor")["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    (endpoint,) = monitor["endpoints"]
    services = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in of_kind(manifests, "Service")
    }

    assert all(wanted <= each["metadata"]["labels"].items() for each in services.values())
    assert {name for name, each in services.items() if _has_port(each, endpoint["port"])} == SERVICES


def _has_port(service: dict[str, Any], name: str) -> bool:
    return name in [port["name"] for port in service["spec"]["ports"]]


def test_without_an_operator_nothing_of_it_is_made(rendered: Callable[..., Manifests]) -> None:
    assert not of_kind(rendered("small"), "ServiceMonitor", "PrometheusRule")
    assert yaml.safe_load((FILES / "aimic.rules.yaml").read_text())["groups"]
