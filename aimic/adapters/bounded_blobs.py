"""A store behind a bound: however slow it is, only so many threads wait for it, and the rest of the service goes on."""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from aimic.errors import UnavailableError
from aimic.ports.blobs import BlobInfo, Blobs


class Slots:
    """So many at once, so many that wait, each for so long; everybody else is sent away at once."""

    def __init__(self, at_once: int, waiting: int, patience_s: float) -> None:
        self._free = at_once
        self._room = waiting
        self._patience_s = patience_s
        self._changed = threading.Condition()

    def room(self) -> int:
        """How many more may come without being sent away."""
        with self._changed:
            return self._free + self._room

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a slot within the block; UnavailableError when there is none in time."""
        if not self._take():
            raise UnavailableError(
                "The object store answers too slowly for everybody who asks for it just now. What was acknowledged is "
                "kept and nothing of this request was done; try again shortly.",
            )
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify()

    def _take(self) -> bool:
        with self._changed:
            if self._free == 0:
                if self._room == 0:
                    return False
                self._room -= 1
                self._changed.wait_for(lambda: self._free > 0, self._patience_s)
                self._room += 1
            if self._free == 0:
                return False
            self._free -= 1
            return True


class BoundedBlobs:
    """The Blobs port over another, for the threads that answer requests.

    Calls and the first piece of a stream share one bound. Later pieces have one of their own with more patience:
    a download that was begun is finished before new ones are begun. Between two pieces a stream holds nothing, so
    that a caller who reads slowly is in nobody's way. Some calls are made while a connection to the records is held:
    their bound is below the number of those (`records_connections`), so that a slow store doesn't take them all.
    """

    def __init__(self, store: Blobs, calls: Slots | None = None, pieces: Slots | None = None) -> None:
        self._store = store
        self._calls = calls or Slots(at_once=10, waiting=5, patience_s=3.0)
        self._pieces = pieces or Slots(at_once=8, waiting=8, patience_s=10.0)

    def put(self, key: str, data: bytes | BinaryIO) -> BlobInfo:
        """See Blobs."""
        with self._calls.one():
            return self._store.put(key, data)

    def get(self, key: str) -> bytes:
        """See Blobs."""
        with self._calls.one():
            return self._store.get(key)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See Blobs."""
        pieces = self._store.read(key, offset, length)
        slots = self._calls
        try:
            while True:
                with slots.one():
                    piece = next(pieces, None)
                if piece is None:
                    return
                yield piece
                slots = self._pieces
        finally:
            if isinstance(pieces, Generator):
                pieces.close()

    def stat(self, key: str) -> BlobInfo:
        """See Blobs."""
        with self._calls.one():
            return self._store.stat(key)

    def exists(self, key: str) -> bool:
        """See Blobs."""
        with self._calls.one():
            return self._store.exists(key)

    def delete(self, key: str) -> None:
        """See Blobs."""
        with self._calls.one():
            self._store.delete(key)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """See Blobs."""
        with self._calls.one():
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
