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
        self._promised: dict[str, int] = {}
        """Bytes that downloads may take, by the names of their directories."""
        self._changed = asyncio.Condition()

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
            await self._make_room(work.name, _TWICE * size, needed)

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
            await self._forget(work.name)

    async def _make_room(self, work: str, size: int, needed: Needed) -> None:
        """Promise `size` bytes to the download in `work`, in place of what it has or was promised before.

        Bundles go that are not needed, the least recently used first; then other downloads are waited for, which take
        twice as much while they go on.
        """
        await self._forget(work)
        async with self._changed:
            while await self._held(work) + size > self._limit:
                if await self._let_one_go(needed):
                    continue
                if not self._promised:
                    raise self._full(
                        f"{size // _MIB + 1} MiB more would pass the {self._limit // _MIB} MiB that bundles may take, "
                        "and all that are there serve or are in memory"
                    )
                await self._changed.wait()
            self._promised[work] = size

    async def _forget(self, work: str) -> None:
        """Nothing is promised to this download any more."""
        async with self._changed:
            self._promised.pop(work, None)
            self._changed.notify_all()

    async def _held(self, besides: str) -> int:
        """Bytes that are taken or promised, without those of the download in `besides`."""
        promised = dict(self._promised)  # before the look, so that none that ends meanwhile is missed
        taken = await asyncio.to_thread(self._taken)
        names = (taken.keys() | promised.keys()) - {besides}
        return sum(max(taken.get(name, 0), promised.get(name, 0)) for name in names)

    async def _let_one_go(self, needed: Needed) -> bool:
        """Remove the bundle that was used longest ago of those that are not needed; False when there is none."""
        spare = [name for name in self.hashes() if not needed(name)]
        if spare:
            leaver = min(spare, key=lambda name: self._path(name).stat().st_mtime)
            logger.info("bundle makes room on the disk", extra={"bundle": leaver})
            await self.discard(leaver)
        return bool(spare)

    def _taken(self) -> dict[str, int]:
        """Bytes of everything here by name; what is being fetched or removed counts too."""
        taken: dict[str, int] = {}
        for place, _, files in os.walk(self._directory):
            name = "/".join(Path(place).relative_to(self._directory).parts[:1])
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # it went just now
                    taken[name] = taken.get(name, 0) + (Path(place) / file).stat().st_size
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
