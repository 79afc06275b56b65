"""The promise of an object store."""

import re
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from aimic.domain.base import Value
from aimic.errors import InvalidInputError

PIECE = 1 << 20
"""Bytes of the largest piece that a stream gives."""
_KEY_LENGTH = 1024
_PART = re.compile(r"[A-Za-z0-9._-]{1,255}")


def key_parts(key: str) -> list[str]:
    """The parts of an object's key; InvalidInputError when it is none."""
    parts = key.split("/")
    if len(key) > _KEY_LENGTH or any(not _PART.fullmatch(part) or part in {".", ".."} for part in parts):
        raise InvalidInputError(f"{key[:100]!r} can't be the name of an object.")
    return parts


def check_range(offset: int, length: int | None) -> None:
    """InvalidInputError when this can't be a range of an object."""
    if offset < 0 or (length is not None and length < 0):
        raise InvalidInputError("A range starts at 0 or later and has a length of 0 or more.")


class BlobInfo(Value):
    """What a store knows of an object."""

    key: str
    size: int


class Blobs(Protocol):
    """Immutable objects under keys such as `local/ab12…/0`.

    A key is `/`-separated, each part of [A-Za-z0-9._-]+ and neither `.` nor `..`; anything else is an
    InvalidInputError. An object appears whole or not at all. Putting the same bytes under a key again is
    harmless. A missing key is a NotFoundError; a store that is away is an UnavailableError.
    """

    def put(self, key: str, data: bytes | BinaryIO) -> BlobInfo:
        """Store `data` (of any length, from where it stands) durably; it is readable by anyone once this returns."""

    def get(self, key: str) -> bytes:
        """All bytes of a small object; CorruptError when they don't match a checksum that the store keeps."""

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range in pieces of at most 1 MiB; the range is cut at the object's end.

        A missing key is refused at once, not at the first piece.
        """

    def stat(self, key: str) -> BlobInfo:
        """Size of an object."""

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def delete(self, key: str) -> None:
        """Remove the object; removing what isn't there is harmless."""

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Objects below a prefix, for housekeeping only: nothing's correctness may rest on it."""

    def url_to_get(self, key: str, ttl_s: int) -> str:
        """An address from which a worker without other credentials reads the object (presigned)."""

    def url_to_put(self, key: str, ttl_s: int) -> str:
        """An address to which a worker without other credentials writes the object (presigned)."""

    def ping(self) -> None:
        """Raise UnavailableError when the store can't be used."""
