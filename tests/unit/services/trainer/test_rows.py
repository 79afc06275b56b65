"""A cache that is filled by parts, by processes that may die."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aimic.errors import FullError
from services.trainer import rows
from services.trainer.rows import RowCache


def _cache(path: Path) -> RowCache:
    return RowCache(path, 10, (2, 3), "f4")


def _values(indices: Sequence[int]) -> NDArray[Any]:
    return np.stack([np.full((2, 3), index, dtype=np.float32) for index in indices])


def _ignore(*_: Any) -> None:
    pass


def test_computes_each_row_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def compute(part: Sequence[int]) -> NDArray[Any]:
        asked.extend(part)
        return _values(part)

    _cache(tmp_path).fill([7, 1, 3], compute, 2, _ignore, _ignore)
    _cache(tmp_path).fill([3, 4, 7], compute, 2, _ignore, _ignore)
    assert asked == [1, 3, 7, 4]
    assert np.array_equal(_cache(tmp_path).rows()[[1, 3, 4, 7]], _values([1, 3, 4, 7]))
    assert _cache(tmp_path).missing(range(10)) == [0, 2, 5, 6, 8, 9]


def test_rows_of_one_block_are_computed_together(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def compute(part: Sequence[int]) -> NDArray[Any]:
        asked.append(list(part))
        return _values(part)

    told: list[tuple[int, int]] = []
    _cache(tmp_path).fill([1], compute, 4, _ignore, _ignore)
    _cache(tmp_path).fill(range(10), compute, 4, lambda done, total: told.append((done, total)), _ignore)
    assert asked == [[1], [0, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert told == [(3, 9), (7, 9), (9, 9)]


def test_goes_on_where_a_death_left_it(tmp_path: Path) -> None:
    def dies(part: Sequence[int]) -> NDArray[Any]:
        if 6 in part:
            raise KeyboardInterrupt
        return _values(part)

    with pytest.raises(KeyboardInterrupt):
        _cache(tmp_path).fill(range(10), dies, 3, _ignore, _ignore)
    assert _cache(tmp_path).missing(range(10)) == [6, 7, 8, 9]
    _cache(tmp_path).fill(range(10), _values, 3, _ignore, _ignore)
    assert np.array_equal(_cache(tmp_path).rows(), _values(range(10)))


def test_a_row_whose_mark_was_not_written_counts_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = _cache(tmp_path)
    real = os.pwrite

    def pwrite(handle: int, data: bytes, offset: int) -> int:
        if data == b"\x01":
            raise KeyboardInterrupt
        written: int = real(handle, data, offset)
        return written

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(KeyboardInterrupt):
        cache.put([0], _values([0]))
    assert cache.missing([0]) == [0]


def test_waits_for_who_fills_and_can_be_called_off(tmp_path: Path) -> None:
    class CalledOffError(Exception):
        pass

    def called_off() -> None:
        raise CalledOffError

    cache = _cache(tmp_path)

    def compute(part: Sequence[int]) -> NDArray[Any]:
        with pytest.raises(CalledOffError):
            _cache(tmp_path).fill([5], _values, 1, _ignore, called_off)
        return _values(part)

    cache.fill([0], compute, 1, _ignore, _ignore)
    assert cache.missing([0, 5]) == [5]


def test_says_when_the_disk_is_too_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "KEEP_FREE", 1 << 62)
    with pytest.raises(FullError, match="free some space"):
        _cache(tmp_path).fill([0], _values, 1, _ignore, _ignore)
