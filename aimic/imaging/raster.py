"""Samples as a file holds them, and the one way in which they become 8-bit sRGB."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimic.imaging.colour import to_srgb

Samples = NDArray[Any]
"""uint8 or uint16, over the full range of its type."""


@dataclass(frozen=True)
class Raster:
    """A picture before colour management: samples of [h, w, c], uint8 or uint16 over their full range.

    c is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha; or CMYK ink when `cmyk`).
    """

    samples: Samples
    bit_depth: int
    """Bits per sample as declared by the file (12 for a 12-bit camera in a 16-bit container)."""
    mode: str
    """How the file held its colours: grey, palette, rgb, cmyk; with `+alpha` where there is alpha."""
    encoder: str
    """The encoder's settings in words, such as `jpeg q≈92 4:2:0`."""
    icc: bytes | None = None
    orientation: int = 1
    """EXIF orientation, 1 to 8 (1 = as it is)."""
    cmyk: bool = False


def scaled(values: NDArray[Any], maximum: int) -> Samples:
    """Scale whole numbers from 0…maximum to the full range of uint8 (maximum < 256) or else of uint16.

    `maximum` is what the file declares, never the largest value that the picture happens to hold.
    """
    wide = maximum > 255
    full = 65535 if wide else 255
    dtype = np.uint16 if wide else np.uint8
    if maximum == full:
        return values.astype(dtype, copy=False)
    if maximum == 1:
        return np.where(values, dtype(full), dtype(0))
    steps = (np.arange(maximum + 1, dtype=np.int64) * full + maximum // 2) // maximum
    return np.asarray(steps.astype(dtype)[values.astype(np.intp, copy=False)])


def to_8_bit(samples: Samples) -> NDArray[np.uint8]:
    """16 to 8 bits by v · 255 / 65535, rounded (a shift by 8 would darken); 8 bits are left as they are."""
    if samples.dtype == np.uint8:
        return samples.astype(np.uint8, copy=False)
    table = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)
    return np.asarray(table[samples])


def on_white(samples: Samples) -> Samples:
    """Drop the alpha channel by laying the picture on white, as a bright-field slide has it. [h, w, 1 or 3]."""
    channels = samples.shape[2]
    if channels in (1, 3):
        return samples
    full = int(np.iinfo(samples.dtype).max)
    alpha = samples[..., -1].astype(np.uint32)
    colour = np.ascontiguousarray(samples[..., : channels - 1])
    if alpha.min() == full:
        return colour
    white = (full - alpha) * full + full // 2
    for channel in range(channels - 1):
        colour[..., channel] = (colour[..., channel] * alpha + white) // full
    return colour


def upright(samples: Samples, orientation: int) -> Samples:
    """Apply an EXIF orientation (EXIF 2.32, tag 0x0112): the picture as a person sees it."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def finished(raster: Raster) -> Samples:
    """Samples in sRGB, without alpha, upright: [h, w, 1 or 3]; 16 bits stay where no profile has to be applied."""
    coloured = to_srgb(raster.samples, raster.icc, cmyk=raster.cmyk, to_8_bit=to_8_bit)
    return upright(on_white(coloured), raster.orientation)


def rgb_8_bit(samples: Samples) -> NDArray[np.uint8]:
    """Finished samples as uint8 [h, w, 3], contiguous; grey is repeated."""
    pixels = to_8_bit(samples)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return np.ascontiguousarray(pixels)
