"""Lanes side by side: each one's words together, a line for who waits, and a failure of any of them is one."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import lanes

LANE = """
import os, pathlib, sys, time
name, place = sys.argv[2], pathlib.Path(sys.argv[1])
for number in range(3):
    print(f"{name} says {number}", flush=True)
    (place / f"{name}{number}").touch()
    while len(list(place.glob(f"*{number}"))) < 2:  # in step with the other, so that both speak at once
        time.sleep(0.01)
print(f"last words of {name}")
sys.exit(3 if name == "bad" else 0)
"""


@pytest.fixture
def make(tmp_path: Path) -> str:
    """What is put before the name of a lane."""
    (tmp_path / "steps").mkdir()
    return shlex.join((sys.executable, "-c", LANE, str(tmp_path / "steps")))


def _block(name: str) -> str:
    return "".join(f"{name} says {number}\n" for number in range(3)) + f"last words of {name}\n"


@pytest.mark.parametrize(("second", "status"), [("good", 0), ("bad", 1)])
def test_what_lanes_say_is_not_mixed(make: str, second: str, status: int) -> None:
    command = (sys.executable, lanes.__file__, make, "first", second)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, done.stderr
    assert _block("first") in done.stdout and _block(second) in done.stdout
    assert ("failed with 3" in done.stdout) == bool(status)


def test_meanwhile_a_line_says_how_far_it_is(
    make: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second lane goes on only once that was seen, so nothing of it is lost either."""
    said: list[str] = []

    def hear(words: str) -> None:
        said.append(words)
        if "alone says 0" in words:
            for number in range(3):
                (tmp_path / "steps" / f"other{number}").touch()

    monkeypatch.setattr(lanes, "EVERY_S", 0.1)
    monkeypatch.setattr(lanes, "say", hear)
    assert lanes.run(make, ["alone"]) == 0
    assert any(line.startswith("lane alone after 0.") and line.endswith(": alone says 0") for line in said)
    assert said[-1].endswith("is done")


WAITING = """
import os, pathlib, sys, time
place = pathlib.Path(sys.argv[1])
place.with_name("begun").write_text(str(os.getpid()))
place.with_name("begun").rename(place)
time.sleep(600)
"""


def test_who_is_told_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    lane = shlex.join((sys.executable, "-c", WAITING, str(pid)))
    with subprocess.Popen((sys.executable, lanes.__file__, lane, "x"), stdout=subprocess.DEVNULL) as running:
        while not pid.exists():
            assert running.poll() is None
            time.sleep(0.02)
        running.terminate()
        assert running.wait(60) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
