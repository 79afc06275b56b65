"""One platform per home."""

import threading
from pathlib import Path
from typing import Any

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


def test_who_only_looks_keeps_nobody_from_starting_and_reads_what_is_whole(tmp_path: Path) -> None:
    over = threading.Event()
    seen: list[dict[str, Any] | None] = []

    def look() -> None:
        while not over.is_set():
            seen.append(read_holder(tmp_path / "up.json"))

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(200):
            lock = HomeLock(tmp_path / "up.json")
            lock.acquire({"pid": 10**number})
            lock.tell({"pid": 10**number + 1})
            lock.release()
    finally:
        over.set()
        for reader in readers:
            reader.join()
    whole = {10**number + more for number in range(200) for more in (0, 1)}
    assert all(not holder or holder["pid"] in whole for holder in seen)
