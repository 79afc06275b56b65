"""Thumbnails of a whole data set, aside in a temporary file: a hundred thousand of them are 700 MB."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from aimic.disks import temporary_file
from aimic.imaging.features import THUMB

_BYTES = THUMB * THUMB * 3


class Picture(NamedTuple):
    """What finding copies needs of a sample."""

    pixel_sha256: str
    file: int
    place: int

    @property
    def thumb(self) -> bytes:
        """48×48×3 sRGB, read when it is asked for."""
        return os.pread(self.file, _BYTES, self.place * _BYTES)


@contextmanager
def spilled(pixels: Sequence[str], thumbs: Iterable[bytes]) -> Iterator[tuple[Picture, ...]]:
    """Pictures (SHA-256 of the pixels, thumbnail) in their order, good within the block.

    FullError when there is no room for them on the temporary disk.
    """
    with temporary_file() as file:
        for thumb in thumbs:
            file.write(thumb)
        file.flush()
        yield tuple(Picture(sha256, file.fileno(), place) for place, sha256 in enumerate(pixels))
