"""The alert rules, by Prometheus' own tool: they are rules, they fire for what they are about, and not otherwise."""

import re
import subprocess
from pathlib import Path

import pytest

from aimic.errors import AimicError, DeadlineError, OverloadedError, UnavailableError
from services.local.servers import install

CASES = Path(__file__).with_name("alerts.test.yaml")
ERRORS = {error.code for error in (AimicError, OverloadedError, DeadlineError, UnavailableError)}
RULES = Path(__file__).parents[2] / "k8s" / "alerts" / "aimic.rules.yaml"


@pytest.mark.parametrize("command", [("check", "rules", RULES), ("test", "rules", CASES)])
def test_promtool_accepts_the_rules(command: tuple[str | Path, ...]) -> None:
    promtool = install.prometheus() / "promtool"
    done = subprocess.run((promtool, *command), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    fired = set(re.findall(r'alertname="(\w+)"', CASES.read_text()))
    assert alerts and alerts == fired


def test_a_quiet_day_has_all_that_the_rules_speak_of() -> None:
    """A rule about what isn't there is silent, however bad the day."""
    expressions = re.findall(r"expr:(.*?)\n        (?:for|labels):", RULES.read_text(), flags=re.DOTALL)
    named = {name for each in expressions for name in re.findall(r"\baimic_\w+", each)}
    assert len(expressions) == RULES.read_text().count("- alert:")
    quiet, *_ = CASES.read_text().split("promql_expr_test")
    ups = {name for name in named if name.endswith("_server_up")}  # one rule looks at any of these
    assert named - ups <= set(re.findall(r"series: '(aimic_\w+)", quiet)) and "aimic_ingest_server_up" in quiet
    (reasons,) = re.findall(r'reason=~"([\w|]+)"', RULES.read_text())
    assert set(reasons.split("|")) == ERRORS
