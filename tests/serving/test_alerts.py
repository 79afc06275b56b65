"""The alert rules, by Prometheus' own tool: they are rules, they fire for what they are about, and not otherwise."""

import re
import subprocess
from pathlib import Path

import pytest

from services.local.servers import install

CASES = Path(__file__).with_name("alerts.test.yaml")
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
