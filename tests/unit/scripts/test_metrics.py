"""docs/metrics.md, the alert rules and the code name the same metrics."""

import re
from pathlib import Path

from scripts.metrics import PAGE, exported, page, rows

ROOT = Path(__file__).parents[3]
RULES = ROOT / "k8s" / "alerts" / "aimic.rules.yaml"
_DECLARED = re.compile(r"(?:Counter|Gauge|Histogram|Summary|Info|MetricFamily)\(\s*\"(aimic_\w+)\"")


def test_the_page_is_what_the_code_declares() -> None:
    assert PAGE.read_text() == page(), "run: make metrics"


def test_no_metric_is_declared_where_the_page_does_not_look() -> None:
    sources = (file.read_text() for room in ("aimic", "services") for file in (ROOT / room).rglob("*.py"))
    declared = {name for source in sources for name in _DECLARED.findall(source)}
    assert len(declared) > 30
    assert declared - {name for name, *_ in rows()} == set()


def test_alert_rules_name_metrics_that_exist() -> None:
    named = set(re.findall(r"\baimic_\w+", RULES.read_text()))
    assert len(named) > 10
    assert named - exported().keys() - set(exported().values()) == set()
