"""What is kept of an image for finding copies and shortcuts, so that its pixels are read once.

All of it is cheap (about a millisecond) and small (7 kB): the identity of the pixels, a perceptual hash that
doesn't change when the image is flipped or turned, a thumbnail, and the colours of the border.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMB = 48
"""Side of the thumbnail, in pixels."""
_FREQUENCIES = 11
_BITS = 64


class Pixels(Protocol):
    """Anything with decoded pixels, such as `aimic.imaging.decode.Decoded`."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """[h, w, 3] sRGB."""


@dataclass(frozen=True, slots=True)
class Features:
    """The kept facts of one image."""

    pixel_sha256: str
    """Hex SHA-256 of height, width and all decoded pixels: equal exactly when the pictures are."""
    phash: str
    """64 bits as 16 hex characters, the same for all eight flips and turns of a picture."""
    thumb: bytes
    """48×48×3 sRGB, row by row: the whole picture, stretched."""
    border: tuple[float, float, float, float, float, float]
    """Mean of red, green, blue over the outer border, then their standard deviations; 0…255."""


def features(decoded: Pixels) -> Features:
    """The features of decoded pixels [h, w, 3] uint8, any size from 1×1."""
    pixels = np.ascontiguousarray(decoded.pixels)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 pixels [h, w, 3], got {pixels.dtype} {pixels.shape}")
    thumb = thumbnail(pixels)
    return Features(pixel_sha256(pixels), perceptual_hash(thumb), thumb.tobytes(), border_colours(pixels))


def pixel_sha256(pixels: NDArray[np.uint8]) -> str:
    """Hex SHA-256 of the shape and the pixels."""
    digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[48, 48, 3]: every thumbnail pixel is the mean of the area that it covers."""
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BOX))


def border_colours(pixels: NDArray[np.uint8]) -> tuple[float, float, float, float, float, float]:
    """Mean and standard deviation of each channel over the outer twentieth of the picture."""
    height, width = pixels.shape[:2]
    y, x = max(1, height // 20), max(1, width // 20)
    parts = [pixels[:y], pixels[-y:], pixels[y:-y, :x], pixels[y:-y, -x:]]
    border = np.concatenate([part.reshape(-1, 3) for part in parts]).astype(np.float32)
    r, g, b = border.mean(axis=0, dtype=np.float64).tolist()
    sr, sg, sb = border.std(axis=0, dtype=np.float64).tolist()
    return (r, g, b, sr, sg, sb)


def perceptual_hash(thumb: NDArray[np.uint8]) -> str:
    """16 hex characters from the 64 lowest mixed frequencies of the grey thumbnail.

    Flips and turns change the sign of cosine coefficients and swap their axes, so the energies
    C[u,v]² + C[v,u]² stay as they are. Energy falls off with frequency in every picture; a bit says whether
    it is above the usual fall-off, taken from the picture itself.
    """
    grey = thumb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    basis = _cosines()
    energy = np.square(basis @ grey @ basis.T)
    u, v, fall_off = _pairs()
    level = np.log(energy[u, v] + energy[v, u] + 1e-3) + fall_off
    bits = level > np.median(level)
    return np.packbits(bits).tobytes().hex()


@cache
def _cosines() -> NDArray[np.float32]:
    """[11, 48] rows of the orthonormal DCT-II."""
    frequency, place = np.arange(_FREQUENCIES)[:, None], np.arange(THUMB)[None, :]
    basis = np.cos(np.pi * frequency * (2 * place + 1) / (2 * THUMB)) * np.sqrt(2 / THUMB)
    basis[0] /= np.sqrt(2)
    rows: NDArray[np.float32] = basis.astype(np.float32)
    return rows


@cache
def _pairs() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """The 64 lowest frequency pairs u ≤ v but the constant, and the usual log fall-off of their energy."""
    pairs = [(u, v) for u in range(_FREQUENCIES) for v in range(u, _FREQUENCIES) if v > 0]
    pairs.sort(key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))
    u, v = np.array(pairs[:_BITS]).T
    return u, v, 1.5 * np.log(u**2 + v**2)
