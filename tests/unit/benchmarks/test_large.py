"""One command of benchmarks.large measures both of what is asked for, and keeps both."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import large
from benchmarks.tables import when_and_where


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        ([], [(100_000, 0), (0, 20)]),
        (["--images", "7"], [(7, 0)]),
        (["--archive-gib", ".5"], [(0, 0.5)]),
        (["--archive-gib", "2", "--images", "3"], [(3, 0), (0, 2)]),
    ],
)
def test_what_is_measured(words: list[str], measured: list[tuple[int, float]]) -> None:
    assert large.wanted(large.arguments(words)) == measured


def test_a_limit_that_is_exceeded_first_is_kept_with_what_comes_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "large.txt"
    file.write_text("the run before")

    def measure(_: argparse.Namespace, images: int, gib: float, __: Path, say: Callable[[str], None]) -> bool:
        assert ("EXCEEDED" in file.read_text()) == bool(gib)  # the first is kept before the second begins
        say(f"{gib:g} GiB kept" if gib else f"{images} images EXCEEDED")
        return not images

    monkeypatch.setattr(large, "measure", measure)
    monkeypatch.setattr(sys, "argv", ["large", "--images", "9", "--archive-gib", "2", "--keep", str(file)])
    with pytest.raises(SystemExit) as ended:
        large.main()
    command, machine, *_, first, second = file.read_text().splitlines()
    assert ended.value.code == 1
    assert command.startswith("python -m benchmarks.large --images 9") and machine == when_and_where()
    assert (first, second) == ("9 images EXCEEDED", "2 GiB kept")
