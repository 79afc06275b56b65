"""A store behind a bound: however slow it is, only so many threads wait for it, and the rest of the service goes on."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from aimic.adapters.bounds import Fuse, Slots
from aimic.ports.blobs import BlobInfo, Blobs


class BoundedBlobs:
    """The Blobs port over another, for the threads that answer requests.

    Calls and the first piece of a stream share one bound. Later pieces have one of their own with more patience:
    a download that was begun is finished before new ones are begun. Between two pieces a stream holds nothing, so
    that a caller who reads slowly is in nobody's way. Some calls are made while a connection to the records is held:
    their bound is below the number of those (`records_connections`), so that a slow store doesn't take them all.
    """

    def __init__(
        self, store: Blobs, calls: Slots | None = None, pieces: Slots | None = None, fuse: Fuse | None = None
    ) -> None:
        self._store = store
        self._fuse = fuse or Fuse(most=4, pause_s=2.0)
        self._calls = calls or Slots(at_once=10, waiting=5, patience_s=3.0)
        self._pieces = pieces or Slots(at_once=8, waiting=8, patience_s=10.0)

    @contextmanager
    def _call(self) -> Iterator[None]:
        with self._calls.one(), self._fuse.guarding():
            yield

    def put(self, key: str, data: bytes | BinaryIO) -> BlobInfo:
        """See Blobs."""
        with self._call():
            return self._store.put(key, data)

    def get(self, key: str) -> bytes:
        """See Blobs."""
        with self._call():
            return self._store.get(key)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Blobs; the first piece is fetched now."""
        with self._call():
            pieces = self._store.read(key, offset, length)
            first = next(pieces, None)
        return self._rest(first, pieces)

    def _rest(self, piece: bytes | None, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            while piece is not None:
                yield piece
                with self._pieces.one():
                    piece = next(pieces, None)
        finally:
            if isinstance(pieces, Generator):
                pieces.close()

    def stat(self, key: str) -> BlobInfo:
        """See Blobs."""
        with self._call():
            return self._store.stat(key)

    def exists(self, key: str) -> bool:
        """See Blobs."""
        with self._call():
            return self._store.exists(key)

    def delete(self, key: str) -> None:
        """See Blobs."""
        with self._call():
            self._store.delete(key)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """See Blobs."""
        with self._call():
            # Housekeeping of few objects; whole, so that no slot is held between two of them.
            return iter([*self._store.list(prefix)])

    def url_to_get(self, key: str, ttl_s: int) -> str:
        """See Blobs; made here, without the store."""
        return self._store.url_to_get(key, ttl_s)

    def url_to_put(self, key: str, ttl_s: int) -> str:
        """See Blobs; made here, without the store."""
        return self._store.url_to_put(key, ttl_s)

    def ping(self) -> None:
        """See Blobs; not bounded, since whoever looks after the servers must always get through."""
        self._store.ping()
