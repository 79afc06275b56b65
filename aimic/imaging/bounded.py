"""File objects that keep an archive's own claims about its size from costing memory or time."""

import os
import zlib
from typing import BinaryIO, Protocol

from aimic.errors import InvalidInputError
from aimic.imaging.limits import MIB

MAX_READ = 256 * MIB
"""Bytes that any one header, name or list of contents may have."""


class Bounded:
    """A seekable file that refuses a single huge read, such as of a header that claims to have gigabytes."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        source.seek(0, os.SEEK_END)
        self.size = source.tell()
        source.seek(0)

    def read(self, size: int = -1) -> bytes:
        """At most MAX_READ bytes, or ValueError, which archive readers report as damage."""
        left = max(0, self.size - self._source.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > MAX_READ:
            raise ValueError("a part of the archive is too large to be read at once")
        return self._source.read(wanted)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._source.tell()

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """The source belongs to the caller and stays open."""


class _Meter(Protocol):
    def __call__(self, unpacked: int) -> None: ...


class Gunzip:
    """A gzip file (RFC 1952, several members too) unpacked forwards in bounded memory.

    `meter` is told how many bytes were unpacked so far and may raise. Seeking goes forwards only.
    """

    def __init__(self, source: BinaryIO, meter: _Meter) -> None:
        self._source = source
        self._meter = meter
        self._inflater = zlib.decompressobj(wbits=31)
        self._ready = b""
        self._packed = b""
        self._position = 0
        self._unpacked = 0
        source.seek(0)

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end; InvalidInputError when the packed data is damaged or cut off."""
        if size < 0 or size > MAX_READ:
            raise ValueError("a part of the archive is too large to be read at once")
        parts, wanted = [], size
        while wanted:
            if not self._ready and not self._fill():
                break
            piece, self._ready = self._ready[:wanted], self._ready[wanted:]
            parts.append(piece)
            wanted -= len(piece)
        data = b"".join(parts)
        self._position += len(data)
        return data

    def _fill(self) -> bool:
        """Unpack some more; False at the end."""
        while not self._ready:
            if not self._packed:
                self._packed = self._source.read(256 * 1024)
            if self._inflater.eof:
                # Padding of zeros after the last member is allowed (as gzip itself does).
                self._packed = self._packed.lstrip(b"\0")
                if not self._packed:
                    return False
                self._inflater = zlib.decompressobj(wbits=31)
            elif not self._packed and not self._inflater.unconsumed_tail:
                raise InvalidInputError(_BROKEN)
            self._inflate()
        return True

    def _inflate(self) -> None:
        try:
            self._ready = self._inflater.decompress(self._packed, MIB)
        except zlib.error as error:
            raise InvalidInputError(_BROKEN) from error
        self._packed = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
        self._unpacked += len(self._ready)
        self._meter(self._unpacked)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Forwards from where it is."""
        target = offset if whence == os.SEEK_SET else self._position + offset
        if whence == os.SEEK_END or target < self._position:
            raise RuntimeError("entries of a tar.gz must be read before the next one is asked for")
        while self._position < target and self.read(min(MIB, target - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        """Unpacked bytes read so far."""
        return self._position


_BROKEN = "The tar.gz archive is damaged or cut off. What came before that point is good; please send it again."
