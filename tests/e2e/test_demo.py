"""`make demo ONCE=1`, on files and on the servers, without the installation: to a served, honestly judged model."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.local.settings import LocalSettings, Profile

ON_SERVERS = pytest.param(Profile.SERVERS, marks=(pytest.mark.servers, pytest.mark.long))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("profile", [Profile.LOCAL, ON_SERVERS])
def test_the_demo_judges_honestly_and_ends_by_itself(
    local_settings: Callable[..., LocalSettings], tmp_path: Path, profile: Profile
) -> None:
    settings = local_settings(tmp_path / "home", profile=profile)
    done = subprocess.run(
        [sys.executable, "-m", "services.local", "demo", "--once", "--home", str(settings.home), "--profile", profile],
        env={**os.environ, **settings.child_environment()},
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Drawn images, no medical meaning" in done.stdout
    accuracy = re.search(r"^accuracy (\d\.\d+)", done.stdout, re.MULTILINE)
    assert accuracy is not None
    # Below, the network learned nothing; above, wrong labels or a leak were learned by heart.
    assert 0.75 <= float(accuracy[1]) <= 0.97
    assert settings.front_url in done.stdout
    assert "Answers of the served model" in done.stdout
    # What it was kept in is what was asked for.
    assert settings.servers_home.is_dir() == (profile is Profile.SERVERS)
    assert (settings.home / "records.db").exists() == (profile is Profile.LOCAL)
