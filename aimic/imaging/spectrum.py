"""How much of each spatial frequency a thumbnail has: nearly blind to shifts, quite blind to flips and turns.

The windowed Fourier magnitude changes little when the picture moves (shift theorem; the window takes the edges
out), and averaging it over the eight mirrored and turned frequencies removes the rest. Measured on PBC: planted
copies (flips, turns, 3 % shifts, JPEG at quality 50, brightness ± 10 %) lie within a distance of 0.1 of their
originals, where fewer than one in 10⁵ pairs of different cells do.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_RADIUS = 11
_FLAT = 1.0
"""Root mean square contrast (of 255) below which a picture has nothing to recognise it by."""


def ring_amplitudes(images: Floats) -> Floats:
    """[n, s, s, c] values 0…255 → [n, d, c] amplitudes of the low frequencies u ≤ v, averaged over the eight."""
    window = _window(images.shape[1])[None, :, :, None]
    mean = (images * window).sum(axis=(1, 2), keepdims=True) / window.sum()
    power = np.square(np.abs(np.fft.fft2((images - mean) * window, axes=(1, 2))))
    u, v = frequencies()
    eight = power[:, u, v] + power[:, u, -v] + power[:, v, u] + power[:, v, -u]
    amplitudes: Floats = np.sqrt(eight).astype(np.float32)
    return amplitudes


def descriptors(images: Floats) -> Floats:
    """[n, s, s, 3] → [n, d] unit vectors, so that brightness and contrast don't matter; flat pictures are 0."""
    u, v = frequencies()
    weight = np.sqrt(np.hypot(u, v))[None, :, None]
    rows = (ring_amplitudes(images) * weight).reshape(len(images), -1)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    flat = images.std(axis=(1, 2)).max(axis=1, initial=0) < _FLAT
    unit: Floats = np.where(flat[:, None], 0, rows / np.maximum(norm, 1e-6)).astype(np.float32)
    return unit


@cache
def frequencies() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The frequency pairs 0 ≤ u ≤ v, lowest first, without the constant."""
    pairs = [(u, v) for v in range(1, _RADIUS) for u in range(v + 1) if u * u + v * v < _RADIUS**2]
    pairs.sort(key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))
    u, v = np.array(pairs, dtype=np.intp).T
    return u, v


@cache
def _window(size: int) -> Floats:
    hann = np.hanning(size + 2)[1:-1]
    window: Floats = np.outer(hann, hann).astype(np.float32)
    return window


WIDTH = 3 * len(frequencies()[0])
"""Numbers of a descriptor."""
