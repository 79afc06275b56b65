"""The little pictures that all kinds of files are made of, and the words planted in their metadata."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CANARY = "CANARY Mustermann 1954"
HEIGHT, WIDTH = 13, 22
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One file, and the pixels that decoding must give (None: the codec is lossy or a profile is applied)."""

    name: str
    data: bytes
    pixels: Pixels | None = None


Kinds = dict[str, tuple[bytes, Pixels | None]]
"""Name → the file and the pixels that it means, as in `Picture`."""


def rgb() -> Pixels:
    """A smooth picture with no symmetry, so that any wrong turn shows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 11, y * 18, 255 - (x + y) * 7], axis=-1).astype(np.uint8)


def grey() -> Pixels:
    """One channel of `rgb`, with a mark in a corner."""
    values = rgb()[..., 0].copy()
    values[:3, :5] = 200
    return values


def grey_16() -> NDArray[np.uint16]:
    """Values over a part of the range only, so that scaling by the picture's own range would show."""
    return (grey().astype(np.uint16) * 100 + 777).astype(np.uint16)


def rgb_16() -> NDArray[np.uint16]:
    """16-bit colours whose low bytes matter."""
    return (rgb().astype(np.uint16) * 200 + np.uint16(129)).astype(np.uint16)


def as_rgb(values: NDArray[Any]) -> Pixels:
    """Grey [h, w] as uint8 [h, w, 3]."""
    return np.repeat(values[..., None].astype(np.uint8), 3, axis=2)


def from_16(values: NDArray[np.uint16]) -> Pixels:
    """The 8-bit values that declared 16-bit depth means, by plain arithmetic."""
    return np.floor(values / 65535 * 255 + 0.5).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image saved by Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int = 1) -> bytes:
    """EXIF with words in several fields."""
    block = Image.Exif()
    block[0x0112] = orientation
    for tag in (0x010E, 0x013B, 0x8298, 0x0131):
        block[tag] = CANARY
    return block.tobytes()
