"""Bundles on the disk: bounded, and none is lost or half there when the disk is full."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.domain.model import ServingEntry
from aimic.errors import FullError
from aimic.nets import bundle
from services.inference.bundles import BundleStore
from services.inference.registry import Registry, Room

pytestmark = pytest.mark.anyio
Make = Callable[..., BundleStore]


@pytest.fixture
def entries(shelf: Any, export: Any) -> list[ServingEntry]:
    """Four versions, the first the oldest."""
    for version in (2, 3, 4):
        shelf.put("cells", version, export(version).file, export(version).hash)
    return list(shelf.entries)


@pytest.fixture
async def make(tmp_path: Path, shelf: Any) -> AsyncIterator[Make]:
    registry = Registry(shelf.http(), 2**30)

    def store(limit: int = 2**30) -> BundleStore:
        made = BundleStore(tmp_path / "bundles", registry, limit)
        made.prepare()
        return made

    yield store
    await registry.close()


def spare(_: str) -> bool:
    """Nothing is needed."""
    return False


async def fill(store: BundleStore, entries: list[ServingEntry]) -> None:
    """Fetch them, each used a minute after the one before."""
    for number, entry in enumerate(entries):
        at = 1_000_000 + 60 * number
        os.utime(await store.fetch(entry, spare), (at, at))


def size_of(export: Any) -> int:
    return int(export(1).file.stat().st_size)


async def test_the_least_recently_used_goes_when_the_limit_would_be_passed(
    make: Make, entries: list[ServingEntry], export: Any
) -> None:
    store = make(int(4.5 * size_of(export)))
    await fill(store, entries[:2])
    await store.fetch(entries[0], spare)  # now version 2 is the one that was used longest ago
    await store.fetch(entries[2], spare)
    assert set(store.hashes()) == {entries[0].bundle_hash, entries[1].bundle_hash, entries[2].bundle_hash}
    await store.fetch(entries[3], spare)
    assert set(store.hashes()) == {entries[0].bundle_hash, entries[2].bundle_hash, entries[3].bundle_hash}


async def test_what_is_needed_stays_and_the_newcomer_is_told_why_it_has_no_room(
    make: Make, entries: list[ServingEntry], export: Any, tmp_path: Path
) -> None:
    store = make(int(3.5 * size_of(export)))
    await fill(store, entries[:2])
    held = {entry.bundle_hash for entry in entries[:2]}
    with pytest.raises(FullError, match="AIMIC_INFERENCE_DISK_BYTES"):
        await store.fetch(entries[2], held.__contains__)
    assert {path.name for path in (tmp_path / "bundles").iterdir()} == held
    await store.fetch(entries[2], {entries[1].bundle_hash}.__contains__)
    assert set(store.hashes()) == {entries[1].bundle_hash, entries[2].bundle_hash}


async def test_a_full_disk_costs_what_is_spare_and_then_only_the_newcomer(
    make: Make, entries: list[ServingEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    await fill(store, entries[:3])
    unpack = bundle.unpack

    def full(file: Any, directory: Path, expected: str | None = None) -> Any:
        if len(store.hashes()) > 1:
            directory.mkdir()
            (directory / "half").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return unpack(file, directory, expected)

    monkeypatch.setattr(bundle, "unpack", full)
    kept = {entry.bundle_hash for entry in entries[1:3]}
    with pytest.raises(FullError, match="no space left on the disk"):
        await store.fetch(entries[3], kept.__contains__)
    assert {path.name for path in (tmp_path / "bundles").iterdir()} == kept
    await store.fetch(entries[3], {entries[2].bundle_hash}.__contains__)
    assert set(store.hashes()) == {entries[2].bundle_hash, entries[3].bundle_hash}


class Halting(Registry):
    """Hands out a bundle in two halves, with `room` asked before each, as after a connection that broke; the second
    one once `gate` is set."""

    def __init__(self, shelf: Any) -> None:
        super().__init__(shelf.http(), 2**30)
        self.gate = asyncio.Event()
        self.halves = 0
        self._files = shelf.files

    async def download(self, entry: ServingEntry, file: Path, room: Room) -> None:
        whole = self._files[entry.bundle_hash]
        size = whole.stat().st_size
        await room(size)
        file.write_bytes(bytes(size // 2))
        self.halves += 1
        await self.gate.wait()
        await room(size)
        shutil.copyfile(whole, file)


async def test_downloads_at_the_same_time_stay_within_the_limit_together(
    tmp_path: Path, shelf: Any, entries: list[ServingEntry], export: Any, until: Any
) -> None:
    halting = Halting(shelf)
    store = BundleStore(tmp_path / "bundles", halting, int(3.5 * size_of(export)))
    store.prepare()
    fetches = asyncio.gather(*(store.fetch(entry, lambda _: True) for entry in entries[:2]))
    await until(lambda: halting.halves)
    with pytest.raises(TimeoutError):
        await until(lambda: halting.halves == 2, 0.3)
    halting.gate.set()
    await fetches  # one after the other they fit
    assert set(store.hashes()) == {entry.bundle_hash for entry in entries[:2]}
    await halting.close()


async def test_what_came_before_a_connection_broke_is_not_counted_twice(
    tmp_path: Path, shelf: Any, entries: list[ServingEntry], export: Any
) -> None:
    halting = Halting(shelf)
    halting.gate.set()
    store = BundleStore(tmp_path / "bundles", halting, int(2.2 * size_of(export)))
    store.prepare()
    await store.fetch(entries[0], lambda _: True)
    assert store.has(entries[0].bundle_hash)
    await halting.close()
