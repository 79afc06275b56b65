"""What is in an upload: a zip, a tar, a tar.gz (by content), or one single file. One entry at a time, in order.

Nothing is written to disk and no name is ever used as a path.
"""

from collections.abc import Iterator
from typing import BinaryIO

from aimic.domain.dataset import Refusal
from aimic.errors import InvalidInputError
from aimic.imaging.entries import ARCHIVE_LIMITS, ArchiveLimits, Entry, Ignored, Walked, size_of, too_large
from aimic.imaging.names import safe_name
from aimic.imaging.pack import PackedFolder, pack_folder
from aimic.imaging.tars import count_tar, is_tar, walk_tar, walk_tar_gz
from aimic.imaging.zips import count_zip, walk_zip

__all__ = [
    "ARCHIVE_LIMITS",
    "ArchiveLimits",
    "Entry",
    "Ignored",
    "PackedFolder",
    "Refusal",
    "Walked",
    "count",
    "pack_folder",
    "walk",
]

_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_GZIP = b"\x1f\x8b"
_FOREIGN = (
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "RAR"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
)


def walk(source: BinaryIO, name: str = "", limits: ArchiveLimits = ARCHIVE_LIMITS) -> Iterator[Walked]:
    """Everything in a seekable upload, in the archive's order; `name` is the file name of a single image.

    Entries are read lazily. InvalidInputError (or TooLargeError) when the archive as a whole can't be read
    or breaks off: entries yielded until then are good.
    """
    head = _head(source)
    if head.startswith(_ZIP):
        yield from walk_zip(source, limits)
    elif head.startswith(_GZIP):
        yield from walk_tar_gz(source, limits)
    elif is_tar(head):
        yield from walk_tar(source, limits)
    else:
        _refuse_foreign(head)
        yield from _single(source, name, limits)


def count(source: BinaryIO) -> int | None:
    """How many files a walk will look at, hidden ones not counted; None when only unpacking could tell."""
    head = _head(source)
    if head.startswith(_ZIP):
        return count_zip(source)
    if head.startswith(_GZIP):
        return None
    return count_tar(source) if is_tar(head) else 1


def _head(source: BinaryIO) -> bytes:
    source.seek(0)
    head = source.read(512)
    source.seek(0)
    return head


def _refuse_foreign(head: bytes) -> None:
    for magic, kind in _FOREIGN:
        if head.startswith(magic):
            raise InvalidInputError(
                f"This is a {kind} archive, which is not opened here. Please send a zip, tar or tar.gz."
            )


def _single(source: BinaryIO, name: str, limits: ArchiveLimits) -> Iterator[Walked]:
    """A file that is no archive: an image by itself, or something that the import refuses with a reason."""
    size = size_of(source)
    shown = safe_name(name.replace("\\", "/").rsplit("/", maxsplit=1)[-1]) or "image"
    if size > limits.max_entry_bytes:
        yield too_large(shown, size, limits)
        return

    def read() -> bytes:
        source.seek(0)
        return source.read(size)

    yield Entry(shown, size, read)
