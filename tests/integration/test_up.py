"""`aimic up`: one tree, one per home, survives its parts' deaths, leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from services.local.platform import Platform
from services.local.settings import LocalSettings

MakeSettings = Callable[..., LocalSettings]
CommandOf = Callable[[psutil.Process], list[str]]
HasEnded = Callable[[psutil.Process], bool]


def _descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _part(platform: Platform, module: str, command_of: CommandOf) -> psutil.Process:
    for process in _descendants(platform.process.pid):
        if module in command_of(process) and process.parent().pid == platform.process.pid:  # type: ignore[union-attr]
            return process
    raise AssertionError(f"no part {module}")


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time allowed"
        time.sleep(0.1)


def test_ctrl_c_ends_every_process_within_ten_seconds(local_settings: MakeSettings, tmp_path: Path) -> None:
    platform = Platform(local_settings(tmp_path), quiet=True)
    platform.wait_until_ready()
    tree = _descendants(platform.process.pid)
    assert len(tree) >= 5
    started = time.monotonic()
    assert platform.stop() == 0
    left = 10 - (time.monotonic() - started)
    assert left > 0
    _, alive = psutil.wait_procs(tree, timeout=max(left, 1))
    assert not alive


def test_kill_of_the_supervisor_leaves_no_process(local_settings: MakeSettings, tmp_path: Path) -> None:
    platform = Platform(local_settings(tmp_path), quiet=True)
    platform.wait_until_ready()
    tree = _descendants(platform.process.pid)
    platform.kill()
    _, alive = psutil.wait_procs(tree, timeout=60)
    assert not alive


def test_a_second_up_on_the_same_home_says_that_one_is_running(platform: Platform) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "services.local", "up", "--home", str(platform.settings.home)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert second.returncode == 1
    assert f"process {platform.process.pid}" in " ".join(second.stderr.split())
    assert "Traceback" not in second.stderr


def test_a_taken_port_is_named(platform: Platform, tmp_path: Path) -> None:
    environment = {**os.environ, **platform.settings.child_environment(), "AIMIC_HOME": str(tmp_path)}
    second = subprocess.run(
        [sys.executable, "-m", "services.local", "up"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert str(platform.settings.port) in second.stderr
    assert "AIMIC_PORT" in second.stderr


@pytest.mark.parametrize(
    ("module", "port"),
    [
        ("services.ingest", "ingest_ops_port"),
        ("services.inference", "inference_ops_port"),
        ("services.trainer", "trainer_ops_port"),
        ("services.dashboard", "dashboard_ops_port"),
        ("services.local.front", "front_ops_port"),
    ],
)
def test_a_part_that_is_killed_comes_back(
    platform: Platform, module: str, port: str, command_of: CommandOf, has_ended: HasEnded
) -> None:
    part = _part(platform, module, command_of)
    part.send_signal(signal.SIGKILL)
    _until(lambda: has_ended(part))
    _until(lambda: _is_ready(getattr(platform.settings, port)))
    assert _part(platform, module, command_of).pid != part.pid


def test_health_and_metrics_are_on_operations_ports_only(platform: Platform) -> None:
    settings = platform.settings
    for name in ("front", "ingest", "inference", "trainer", "dashboard"):
        base = f"http://127.0.0.1:{getattr(settings, f'{name}_ops_port')}"
        assert httpx.get(f"{base}/healthz", timeout=30).status_code == 200
        assert "# HELP" in httpx.get(f"{base}/metrics", timeout=30).text
    for path in ("/api/metrics", "/api/v1/healthz", "/inference/v1/metrics"):
        assert httpx.get(f"{settings.front_url}{path}", timeout=30).status_code == 404
