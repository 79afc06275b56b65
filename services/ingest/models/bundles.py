"""Exported bundle files: opened, checked byte by byte, and stored by their hash."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aimic.disks import scarce
from aimic.errors import TooLargeError
from aimic.nets.bundle import BundleInfo, inspect, unpack
from aimic.nets.bundle_archive import LARGEST_BUNDLE
from aimic.ports.blobs import Blobs

_PREFIX = "bundle-"


@dataclass(frozen=True)
class StoredBundle:
    """A bundle that was checked and stored."""

    hash: str
    key: str
    size: int
    info: BundleInfo


def clear_scratch(scratch: Path) -> None:
    """At start: remove what a killed process had unpacked."""
    for left in scratch.glob(f"{_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def opened(pieces: Iterable[bytes], scratch: Path) -> Iterator[tuple[Path, str, BundleInfo]]:
    """The exported file, its bundle's hash and description; every byte is checked. Gone after the block.

    InvalidInputError for what is no bundle, CorruptError for a changed one, FullError when the disk has no room.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with scarce(scratch), tempfile.TemporaryDirectory(prefix=_PREFIX, dir=scratch) as name:
        file = Path(name) / "exported"
        size = 0
        with file.open("wb") as out:
            for piece in pieces:
                size += len(piece)
                if size > LARGEST_BUNDLE:
                    raise TooLargeError("This exported model is larger than any we read. Nothing was kept.")
                out.write(piece)
        directory = Path(name) / "bundle"
        unpack(file, directory)
        found = inspect(directory)
        shutil.rmtree(directory)
        yield file, found.hash, found.info


def store(blobs: Blobs, site: str, pieces: Iterable[bytes], scratch: Path) -> StoredBundle:
    """Check an exported file and store it under its bundle's hash; storing it again is harmless."""
    with opened(pieces, scratch) as (file, digest, info):
        key = f"{site}/bundles/{digest}"
        with file.open("rb") as source:
            blobs.put(key, source)
        return StoredBundle(digest, key, file.stat().st_size, info)


def read_info(blobs: Blobs, key: str, scratch: Path) -> BundleInfo:
    """What a stored bundle says of itself."""
    with opened(blobs.read(key), scratch) as (_, _, info):
        return info
