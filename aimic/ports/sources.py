"""The promise of a store that belongs to others and that we only read."""

import threading
from collections.abc import Sequence
from typing import Protocol

from aimic.ports.blobs import BlobInfo


class Sources(Protocol):
    """Objects under names that others chose, in the buckets that this was made for; asking for another is a KeyError.

    A missing object or bucket is a NotFoundError, one that our key may not read a ForbiddenError, a store that is
    away an UnavailableError.
    """

    def stat(self, bucket: str, key: str) -> BlobInfo:
        """Size of an object."""

    def read(self, bucket: str, key: str, most: int, stopped: threading.Event) -> bytes:
        """The first `most` bytes; only some of them, for nobody, when `stopped` is set meanwhile."""

    def list(self, bucket: str, prefix: str, most: int) -> Sequence[BlobInfo]:
        """The first `most` objects whose key starts with `prefix`, in the order of keys, without empty folders."""
