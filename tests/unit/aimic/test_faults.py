"""Points are nothing unless a test asks, and the list of them is the code's own."""

import logging
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from aimic import faults
from aimic.domain.job import TaskKind
from aimic.errors import UnavailableError
from aimic.settings import Settings

ROOT = Path(__file__).parents[3]
_CALL = re.compile(r"faults\.point\(f?\"([^\"]+)\"\)")


@pytest.fixture
def armed(tmp_path: Path) -> Iterator[Path]:
    faults.arm(Settings(home=tmp_path, faults_dir=tmp_path))
    yield tmp_path
    faults.disarm()


def test_every_point_in_the_code_is_listed_and_the_other_way_round() -> None:
    sources = [path for part in ("aimic", "services") for path in (ROOT / part).rglob("*.py")]
    written = Counter(name for path in sources for name in _CALL.findall(path.read_text()))
    found = Counter[str]()
    for name, times in written.items():
        for kind in TaskKind if "{kind}" in name else ("",):
            found[name.replace("{kind}", kind)] += times
    assert found == Counter(faults.POINTS)


def test_a_point_is_nothing_before_a_process_is_armed(tmp_path: Path) -> None:
    (tmp_path / "ingest.job.before").write_text("error")
    faults.arm(Settings(home=tmp_path))
    faults.point("ingest.job.before")
    assert (tmp_path / "ingest.job.before").exists()


def test_an_armed_point_acts_once_and_others_are_left_alone(armed: Path, caplog: pytest.LogCaptureFixture) -> None:
    (armed / "ingest.job.before").write_text("error")
    faults.point("ingest.job.committed")
    with caplog.at_level(logging.WARNING), pytest.raises(UnavailableError, match="failure at ingest"):
        faults.point("ingest.job.before")
    assert "fault" in caplog.text
    faults.point("ingest.job.before")


def test_a_pause_lasts_as_long_as_it_says(armed: Path) -> None:
    (armed / "child.epoch.done").write_text("pause:0.05\n")
    began = time.monotonic()
    faults.point("child.epoch.done")
    assert time.monotonic() - began >= 0.05


def test_a_process_that_serves_others_is_never_armed(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="tests on this machine"):
        faults.arm(Settings(home=tmp_path, faults_dir=tmp_path, host="0.0.0.0"))
