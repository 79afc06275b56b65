"""Made-up data for the benchmarks: cheap, distinct, the same every time. No medical meaning."""

import hashlib
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

KINDS = ("round", "long", "lobed", "bean")
_BLOCK = tarfile.BLOCKSIZE
_HEADER = 54


def png(seed: int, side: int = 16) -> bytes:
    """A PNG of coloured noise, about 900 bytes at 16 pixels a side; no two seeds look alike."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side * 3), np.uint8)
    rows = np.hstack([np.zeros((side, 1), np.uint8), pixels]).tobytes()
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def folder(root: Path, count: int, side: int = 16, first: int = 0) -> Path:
    """`count` PNGs in a folder per kind, numbered from `first`."""
    for kind in KINDS:
        (root / kind).mkdir(parents=True)
    for number in range(first, first + count):
        (root / KINDS[number % len(KINDS)] / f"{number:06d}.png").write_bytes(png(number, side))
    return root


class Archive:
    """A tar of large BMPs as something to send: made while it is read, so that it takes no disk of the sender.

    Every picture is one of its own and compresses well, so that a store that compresses needs little disk either.
    """

    filename = "large.tar"

    def __init__(self, size: int, width: int = 2400, height: int = 1600) -> None:
        """About `size` bytes in all."""
        self._width, self._height = width, height
        self._bytes = _HEADER + 3 * width * height
        self._stride = _BLOCK + -(-self._bytes // _BLOCK) * _BLOCK
        self.images = max(8, size // self._stride)
        self.size = self.images * self._stride + 2 * _BLOCK
        self.fingerprint = hashlib.sha256(f"large {self.size} {width} {height}".encode()).hexdigest()
        self._member: tuple[int, bytes] = (-1, b"")

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on; fewer only at the end."""
        parts, end = [], min(offset + size, self.size)
        while offset < end:
            number, begin = divmod(offset, self._stride)
            if number >= self.images:
                parts.append(bytes(end - offset))
                break
            part = self._of(number)[begin : begin + end - offset]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _of(self, number: int) -> bytes:
        if self._member[0] != number:
            self._member = (number, self._made(number))
        return self._member[1]

    def _made(self, number: int) -> bytes:
        info = tarfile.TarInfo(f"{KINDS[number % len(KINDS)]}/{number:05d}.bmp")
        info.size = self._bytes
        rng = np.random.default_rng(number)
        # Coarse squares of chance colours: they survive in a thumbnail, so that pictures differ.
        squares = rng.integers(0, 256, (self._height // 200, self._width // 200, 3), np.uint8)
        pixels = squares.repeat(200, axis=1).repeat(200, axis=0)
        head = struct.pack("<2sIHHI", b"BM", self._bytes, 0, 0, _HEADER)
        head += struct.pack("<IiiHHIIiiII", 40, self._width, self._height, 1, 24, 0, 0, 2835, 2835, 0, 0)
        behind = bytes(self._stride - _BLOCK - self._bytes)
        return b"".join([info.tobuf(tarfile.USTAR_FORMAT), head, pixels.data, behind])
