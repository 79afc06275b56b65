"""Bundles on this machine's disk: one directory per hash, which appears whole and verified or not at all."""

import asyncio
import shutil
import uuid
from pathlib import Path

from aimic import faults
from aimic.domain.model import ServingEntry
from aimic.nets import bundle
from services.inference.registry import Registry


class BundleStore:
    """`directory/HASH` for verified bundles; names with a dot are work in progress."""

    def __init__(self, directory: Path, registry: Registry) -> None:
        self._directory = directory
        self._registry = registry

    def prepare(self) -> None:
        """Make the directory and drop what an earlier process left unfinished."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for left in self._directory.glob(".*"):
            _remove(left)

    def has(self, bundle_hash: str) -> bool:
        """Whether the bundle is on this disk."""
        return self._path(bundle_hash).is_dir()

    async def fetch(self, entry: ServingEntry) -> Path:
        """Directory of the entry's bundle, downloaded and verified if it isn't here yet.

        CorruptError or InvalidInputError when what came is not the bundle of that hash; UnavailableError,
        NotFoundError and TooLargeError as Registry.download.
        """
        target = self._path(entry.bundle_hash)
        if target.is_dir():
            return target
        work = self._directory / f".{entry.bundle_hash}.{uuid.uuid4().hex}"
        work.mkdir()
        try:
            await self._registry.download(entry, work / "file")
            faults.point("inference.downloaded")
            await asyncio.to_thread(bundle.unpack, work / "file", work / "bundle", entry.bundle_hash)
            if not target.is_dir():
                (work / "bundle").rename(target)
        finally:
            await asyncio.to_thread(_remove, work)
        return target

    async def discard(self, bundle_hash: str) -> None:
        """Remove a bundle that nobody wants, or that is damaged."""
        target = self._path(bundle_hash)
        if target.is_dir():
            doomed = self._directory / f".{bundle_hash}.{uuid.uuid4().hex}"
            target.rename(doomed)  # at once, so that a fetch that follows doesn't take it for whole
            await asyncio.to_thread(_remove, doomed)

    def _path(self, bundle_hash: str) -> Path:
        assert bundle_hash.isalnum(), "a bundle's hash is hexadecimal"
        return self._directory / bundle_hash


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
