"""What may be forgotten, and what may not."""

import os
from pathlib import Path

import numpy as np

from services.trainer.caches import IN_USE_S, forget_old
from services.trainer.rows import MARKS, RowCache

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
