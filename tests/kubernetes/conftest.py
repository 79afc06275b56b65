"""The chart, rendered by the real Helm."""

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.local.servers.install import helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "aimic"
NAMED = Path(__file__).with_name("values.yaml")
KUBERNETES = "1.34.0"

Manifests = list[dict[str, Any]]


@pytest.fixture(scope="session")
def ask_helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Helm with these arguments."""
    program = helm()

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run((str(program), *arguments), capture_output=True, text=True, timeout=60, check=False)

    return ask


@pytest.fixture(scope="session")
def said(ask_helm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """What `helm template` says to the values that have to be named, with these changes (`name=value`)."""

    def template(*changes: str) -> subprocess.CompletedProcess[str]:
        sets = [word for change in changes for word in ("--set", change)]
        return ask_helm("template", "hospital", str(CHART), "--kube-version", KUBERNETES, "-f", str(NAMED), *sets)

    return template


@pytest.fixture(scope="session")
def rendered(said: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Manifests]:
    """The manifests with these changes; each set of changes is rendered once."""

    @functools.cache
    def render(*changes: str) -> Manifests:
        done = said(*changes)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return render


@pytest.fixture(scope="session")
def arrows() -> dict[str, Any]:
    """The table of who may speak to whom."""
    table: dict[str, Any] = yaml.safe_load((CHART / "files" / "arrows.yaml").read_text())
    return table
