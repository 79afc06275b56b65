"""A supervised process: started again when it dies, gone with all it started when it is stopped."""

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from services.local.part import Part, PartSpec


def _part(tmp_path: Path, script: str) -> Part:
    return Part(PartSpec(name="thing", command=(sys.executable, "-c", script), ops_port=1), tmp_path)


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time allowed"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it may go while it is read
        return False


def test_a_part_that_dies_is_started_again_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = _part(tmp_path, "import time; time.sleep(60)")
    part.start()
    first = part.pid
    assert first is not None
    os.kill(first, 9)

    def again() -> bool:
        part.watch()
        return part.pid not in {None, first}

    with caplog.at_level(logging.ERROR):
        _until(again)
    assert "thing died (exit status -9)" in caplog.text
    part.ask_to_stop()
    part.end(time.monotonic() + 5)


def test_pauses_grow_while_deaths_follow_closely(tmp_path: Path) -> None:
    part = _part(tmp_path, "raise SystemExit(3)")
    part.start()

    def died_twice() -> bool:
        part.watch()
        return part.restarts >= 2

    _until(died_twice)
    part.ask_to_stop()
    part.end(time.monotonic() + 1)


def test_stopping_ends_descendants_that_ignore_the_signal(tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    script = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}]); print(p.pid, flush=True); time.sleep(60)"
    )
    part = _part(tmp_path, script)
    part.start()
    log = tmp_path / "thing.log"
    _until(lambda: log.exists() and log.read_text().strip().isdigit())
    grandchild = int(log.read_text())
    part.ask_to_stop()
    part.end(time.monotonic() + 5)
    _until(lambda: not _alive(grandchild))
