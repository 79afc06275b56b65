"""One platform per home."""

from pathlib import Path

import pytest

from aimic.errors import ConflictError
from services.local.lock import HomeLock, read_holder


def test_a_second_platform_is_told_who_runs(tmp_path: Path) -> None:
    first, second = HomeLock(tmp_path / "up.json"), HomeLock(tmp_path / "up.json")
    first.acquire({"pid": 4711, "url": "http://127.0.0.1:8080"})
    with pytest.raises(ConflictError, match=r"4711.*8080"):
        second.acquire({"pid": 1})
    assert read_holder(tmp_path / "up.json") == {"pid": 4711, "url": "http://127.0.0.1:8080"}


def test_after_release_the_home_is_free_again(tmp_path: Path) -> None:
    first, second = HomeLock(tmp_path / "up.json"), HomeLock(tmp_path / "up.json")
    first.acquire({"pid": 1})
    first.release()
    assert read_holder(tmp_path / "up.json") is None
    second.acquire({"pid": 2})
    assert read_holder(tmp_path / "up.json") == {"pid": 2}
    second.release()


def test_without_a_platform_there_is_no_holder(tmp_path: Path) -> None:
    assert read_holder(tmp_path / "up.json") is None
