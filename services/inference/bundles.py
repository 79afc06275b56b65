"""Bundles on this machine's disk: one directory per hash, which appears whole and verified or not at all."""

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from aimic import faults
from aimic.domain.model import ServingEntry
from aimic.errors import FullError
from aimic.nets import bundle
from services.inference.registry import Registry

logger = logging.getLogger(__name__)

_MIB = 2**20
_TWICE = 2
"""While a bundle is fetched, its exported file and its directory are both on the disk."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
Needed = Callable[[str], bool]
"""Whether the bundle of a hash must stay on the disk. Asked on the event loop."""


class BundleStore:
    """`directory/HASH` for verified bundles; names with a dot are work in progress. At most `limit` bytes."""

    def __init__(self, directory: Path, registry: Registry, limit: int) -> None:
        self._directory = directory
        self._registry = registry
        self._limit = limit

    def prepare(self) -> None:
        """Make the directory and drop what an earlier process left unfinished."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for left in self._directory.glob(".*"):
            _remove(left)

    def has(self, bundle_hash: str) -> bool:
        """Whether the bundle is on this disk."""
        return self._path(bundle_hash).is_dir()

    def hashes(self) -> tuple[str, ...]:
        """The bundles on this disk."""
        return tuple(path.name for path in self._directory.glob("*") if path.name.isalnum())

    async def fetch(self, entry: ServingEntry, needed: Needed) -> Path:
        """Directory of the entry's bundle, downloaded and verified if it isn't here yet.

        CorruptError or InvalidInputError when what came is not the bundle of that hash; UnavailableError,
        NotFoundError and TooLargeError as Registry.download; FullError when the disk has no room for it, even
        without the bundles that are not `needed`.
        """
        target = self._path(entry.bundle_hash)
        while not target.is_dir():
            try:
                await self._bring(entry, target, needed)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                if not await self._let_one_go(needed):
                    raise self._full("there is no space left on the disk") from error
        with contextlib.suppress(OSError):  # who can't be told apart by use goes by age
            os.utime(target)
        return target

    async def discard(self, bundle_hash: str) -> None:
        """Remove a bundle that nobody wants, or that is damaged."""
        target = self._path(bundle_hash)
        if target.is_dir():
            doomed = self._directory / f".{bundle_hash}.{uuid.uuid4().hex}"
            target.rename(doomed)  # at once, so that a fetch that follows doesn't take it for whole
            await asyncio.to_thread(_remove, doomed)

    async def _bring(self, entry: ServingEntry, target: Path, needed: Needed) -> None:
        async def room(size: int) -> None:
            await self._make_room(_TWICE * size, needed)

        work = self._directory / f".{entry.bundle_hash}.{uuid.uuid4().hex}"
        try:
            work.mkdir(parents=True)
            await self._registry.download(entry, work / "file", room)
            faults.point("inference.downloaded")
            await asyncio.to_thread(bundle.unpack, work / "file", work / "bundle", entry.bundle_hash)
            if not target.is_dir():
                (work / "bundle").rename(target)
        finally:
            await asyncio.to_thread(_remove, work)

    async def _make_room(self, size: int, needed: Needed) -> None:
        """Let bundles go that are not needed, the least recently used first, until `size` bytes more are allowed."""
        while await asyncio.to_thread(self._taken) + size > self._limit:
            if not await self._let_one_go(needed):
                raise self._full(
                    f"{size // _MIB + 1} MiB more would pass the {self._limit // _MIB} MiB that bundles may take, and "
                    "all that are there serve or are in memory"
                )

    async def _let_one_go(self, needed: Needed) -> bool:
        """Remove the bundle that was used longest ago of those that are not needed; False when there is none."""
        spare = [name for name in self.hashes() if not needed(name)]
        if spare:
            leaver = min(spare, key=lambda name: self._path(name).stat().st_mtime)
            logger.info("bundle makes room on the disk", extra={"bundle": leaver})
            await self.discard(leaver)
        return bool(spare)

    def _taken(self) -> int:
        """Bytes of everything here; what is being fetched or removed counts too."""
        taken = 0
        for place, _, files in os.walk(self._directory):
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # it went just now
                    taken += (Path(place) / file).stat().st_size
        return taken

    def _full(self, why: str) -> FullError:
        return FullError(
            f"It can't be fetched: {why}. What is here goes on serving. It is tried again by itself; make space in "
            f"{self._directory}, retire models that are no longer used, or raise AIMIC_INFERENCE_DISK_BYTES."
        )

    def _path(self, bundle_hash: str) -> Path:
        assert bundle_hash.isalnum(), "a bundle's hash is hexadecimal"
        return self._directory / bundle_hash


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
