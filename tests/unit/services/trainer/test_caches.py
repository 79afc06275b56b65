"""What may be forgotten, and what may not."""

import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.trainer import caches
from services.trainer.caches import IN_USE_S, forget_old
from services.trainer.rows import MARKS, RowCache
from services.trainer.scratch import LOCK, Scratch, clear_left

NOW = 2_000_000_000.0


def _cache(home: Path, name: str, age_s: float) -> Path:
    """A cache of about a megabyte, opened so long ago."""
    folder = home / "pixels" / name
    RowCache(folder, 4, (1 << 20,), "u1").put([0], np.ones((1, 1 << 20), dtype=np.uint8))
    os.utime(folder / MARKS, (NOW - age_s, NOW - age_s))
    return folder


def test_forgets_the_oldest_until_it_fits(tmp_path: Path) -> None:
    old, older, newer = (_cache(tmp_path, name, days * IN_USE_S) for name, days in (("a", 5), ("b", 9), ("c", 2)))
    forget_old(tmp_path, 3 << 20, NOW)
    assert (older.exists(), old.exists(), newer.exists()) == (False, True, True)


def test_keeps_what_may_be_in_use_and_what_fits(tmp_path: Path) -> None:
    used, old = _cache(tmp_path, "a", 60), _cache(tmp_path, "b", 9 * IN_USE_S)
    forget_old(tmp_path, 1 << 30, NOW)
    assert old.exists()
    forget_old(tmp_path, 0, NOW)
    assert (used.exists(), old.exists()) == (True, False)


def test_opening_a_cache_counts_as_use(tmp_path: Path) -> None:
    folder = _cache(tmp_path, "a", 9 * IN_USE_S)
    RowCache(folder, 4, (1 << 20,), "u1")
    assert (folder / MARKS).stat().st_mtime != NOW - 9 * IN_USE_S


@pytest.mark.parametrize("when", ["listed", "measured"])
def test_another_trainer_that_tidies_too_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    gone, old, new = (_cache(tmp_path, name, days * IN_USE_S) for name, days in (("a", 9), ("b", 8), ("c", 2)))
    listed = list(tmp_path.glob(f"*/*/{MARKS}"))

    def measured(folder: Path) -> int:
        if folder == gone:
            shutil.rmtree(folder)
        return sum(1 << 20 for _ in folder.iterdir())

    if when == "listed":
        monkeypatch.setattr(Path, "glob", lambda *_: iter(listed))
        shutil.rmtree(gone)
    else:
        monkeypatch.setattr(caches, "_bytes", measured)
    forget_old(tmp_path, 2 << 20, NOW)
    assert (old.exists(), new.exists()) == (False, True)


def test_what_killed_trainers_left_goes_though_another_removes_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "left", "odd"):
        (tmp_path / name).mkdir()
    for name in ("gone", "left"):
        (tmp_path / name / LOCK).touch()
    (tmp_path / "odd" / LOCK).mkdir()
    listed = [tmp_path / name / LOCK for name in ("gone", "odd", "left")]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(listed))
    shutil.rmtree(tmp_path / "gone")
    clear_left(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["odd"]


def test_what_is_just_being_made_is_there_though_another_takes_it_for_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock
    begun: list[bool] = []

    def slow(handle: Any, how: int) -> None:
        if not begun:
            begun.append(True)
            clear_left(tmp_path)
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    scratch = Scratch(tmp_path / "task-1")
    assert (scratch.open() / LOCK).exists()
    clear_left(tmp_path)
    assert scratch.directory.is_dir()
    scratch.close()
    assert list(tmp_path.iterdir()) == []
