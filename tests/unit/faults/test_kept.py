"""What a run of the fault suite said is kept once it is over, with date and machine; one cut short keeps nothing."""

import re
from pathlib import Path

import pytest

from benchmarks.tables import when_and_where
from tests.faults import __main__ as suite
from tests.faults.histories import History
from tests.faults.running import Verdict


class _Stack:
    """Nothing runs: what is tried here is what is said and kept."""

    def __init__(self, *_: object) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class _Runner:
    """Breaks every second history; comes to no verdict on a third."""

    def __init__(self, _: object) -> None:
        self._run = 0

    def prepare(self) -> None: ...
    def close(self) -> None: ...

    def kept_for_ever(self) -> list[str]:
        return []

    def run(self, _: History) -> Verdict:
        self._run += 1
        if self._run == 3:
            raise KeyboardInterrupt
        return Verdict(broken=["a fold was counted twice"] if self._run == 2 else [], seconds=1.0)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(suite, "Stack", _Stack)
    monkeypatch.setattr(suite, "Runner", _Runner)
    (tmp_path / "faults.txt").write_text("the run before")
    return tmp_path / "faults.txt"


def _run(number: int, kept: Path) -> int:
    words = ("--number", str(number), "--profile", "embedded", "--home", str(kept.parent), "--keep", str(kept))
    return suite.Suite(suite.arguments(words)).run()


@pytest.mark.parametrize(("number", "status", "words"), [(1, 0, "0 broken"), (2, 1, "1 broken [1]")])
def test_a_run_is_kept_whether_it_went_well_or_not(kept: Path, number: int, status: int, words: str) -> None:
    assert _run(number, kept) == status
    command, machine, *_, last = kept.read_text().splitlines()
    assert command.startswith("python -m tests.faults ") and machine == when_and_where()
    assert re.fullmatch(rf"{number} histories in \d+ s, {re.escape(words)}", last)
    assert ("a fold was counted twice" in kept.read_text()) == (status == 1)


def test_a_run_that_was_cut_short_leaves_the_one_before(kept: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _run(3, kept)
    assert kept.read_text() == "the run before"
