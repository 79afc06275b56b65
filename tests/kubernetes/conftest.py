"""The chart, rendered by the real Helm."""

import functools
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from services.local.servers.install import helm
from tests.kubernetes.manifests import CHART, KUBERNETES, Manifests


@pytest.fixture(scope="session")
def ask_helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Helm with these arguments."""
    program = helm()

    def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run((str(program), *arguments), capture_output=True, text=True, timeout=60, check=False)

    return ask


@pytest.fixture(scope="session")
def said(ask_helm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """What `helm template` says to a profile with these changes (`name=value`)."""

    def template(profile: str, *changes: str) -> subprocess.CompletedProcess[str]:
        sets = [word for change in changes for word in ("--set", change)]
        values = CHART / f"values-{profile}.yaml"
        return ask_helm("template", "hospital", str(CHART), "--kube-version", KUBERNETES, "-f", str(values), *sets)

    return template


@pytest.fixture(scope="session")
def rendered(said: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Manifests]:
    """The manifests of a profile with these changes; each set of changes is rendered once."""

    @functools.cache
    def render(profile: str, *changes: str) -> Manifests:
        done = said(profile, *changes)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    return render


@pytest.fixture(scope="session")
def arrows() -> dict[str, Any]:
    """The table of who may speak to whom."""
    table: dict[str, Any] = yaml.safe_load((CHART / "files" / "arrows.yaml").read_text())
    return table
