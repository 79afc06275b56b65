"""A finished upload as one seekable file over its stored pieces."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple, cast

from aimic.ports.blobs import Blobs

BUFFER = 1 << 20


class Piece(NamedTuple):
    """Bytes `start` … `start + size` lie under `key`."""

    start: int
    size: int
    key: str


class _PiecedFile(io.RawIOBase):
    """Reads ranges of pieces; holds nothing but its position."""

    def __init__(self, blobs: Blobs, pieces: Sequence[Piece], length: int) -> None:
        self._blobs = blobs
        self._pieces = [piece for piece in pieces if piece.size]
        self._starts = [piece.start for piece in self._pieces]
        self._length = length
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise ValueError("a position before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override] # typeshed's WriteableBuffer has no public name
        if self._position >= self._length or not len(buffer):
            return 0
        piece = self._pieces[bisect_right(self._starts, self._position) - 1]
        offset = self._position - piece.start
        done = 0
        for data in self._blobs.read(piece.key, offset, min(len(buffer), piece.size - offset)):
            buffer[done : done + len(data)] = data
            done += len(data)
        self._position += done
        return done


def open_pieces(blobs: Blobs, pieces: Sequence[Piece], length: int) -> BinaryIO:
    """A buffered, seekable file object over `pieces` (in order, without gaps), `length` bytes in all."""
    return cast("BinaryIO", io.BufferedReader(_PiecedFile(blobs, pieces, length), BUFFER))
