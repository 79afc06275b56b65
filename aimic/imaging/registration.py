"""Whether two thumbnails show the same picture: laid over each other as well as can be, then correlated.

A flip or turn and whole pixels of shift are found by cross-correlation (Fourier); the rest of a pixel, a small
change of scale along each axis, contrast and each colour's brightness by one linear regression on the picture
and its gradients (Lucas and Kanade 1981, equation 8). What is left unexplained says how different the pictures
are. Coarse shapes are taken out first: any two cells of a kind are a dark disc on a light ground.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MAX_SHIFT = 3
_MARGIN = MAX_SHIFT + 1
_BLUR = 3.0
_BLACK, _WHITE = 4, 251
_LEAST = 120
"""Common content, in thumbnail pixels, below which nothing can be said."""


@dataclass(frozen=True, slots=True)
class Registered:
    """How pairs fit, one entry per pair."""

    correlation: NDArray[np.float64]
    """0…1, of the fine detail."""
    turn: NDArray[np.int64]
    """Which of the eight turned the second into the first: quarter turns 0…3, plus 4 when mirrored first."""


def turned(images: Floats, turn: int) -> Floats:
    """[n, s, s, c] under one of the eight flips and turns."""
    mirrored = images[:, :, ::-1] if turn >= 4 else images
    return np.rot90(mirrored, turn % 4, axes=(1, 2))


@dataclass(frozen=True, slots=True)
class Detail:
    """The fine structure of pictures, and where there is any."""

    fine: Floats
    """[n, s, s, 3], coarse shapes taken off; 0 where nothing is known."""
    known: Floats
    """[n, s, s], 1 where the picture has content, 0 on and beside blank ground (black, or burnt out)."""

    def of(self, picked: NDArray[np.int64]) -> "Detail":
        """The picked pictures."""
        return Detail(self.fine[picked], self.known[picked])


def detail(images: Floats) -> Detail:
    """[n, s, s, 3] values 0…255 without coarse shapes: a Gaussian blur of the known part is taken off.

    Blank ground is left out, since the outline of a cell cut out on black would outweigh all that is in it.
    """
    content = (images.max(axis=3) > _BLACK) & (images.min(axis=3) < _WHITE)
    near = _eroded(content)
    soft = near.astype(np.float32)[..., None]
    coarse = _blur(images * soft) / np.maximum(_blur(soft), np.float32(1e-3))
    fine = ((images - coarse) * soft).astype(np.float32)
    return Detail(fine, _eroded(near).astype(np.float32))


def register(first: Detail, second: Detail) -> Registered:
    """Fit each second picture to its first one."""
    turn, dy, dx = _place(first.fine.mean(axis=3), second.fine)
    placed = Detail(np.empty_like(second.fine), np.empty_like(second.known))
    for t in range(8):
        which = np.flatnonzero(turn == t)
        placed.fine[which] = turned(second.fine[which], t)
        placed.known[which] = turned(second.known[which], t)
    return Registered(_explained(first, placed, dy, dx), turn)


def _place(grey: Floats, second: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The turn and whole-pixel shift with the highest cross-correlation, per pair."""
    size = grey.shape[1]
    hann = np.hanning(size + 2)[1:-1].astype(np.float32)
    window: Floats = np.outer(hann, hann)
    spectrum = np.conj(np.fft.rfft2(grey * window))
    other = second.mean(axis=3, keepdims=True)
    shifts = np.r_[0 : MAX_SHIFT + 1, -MAX_SHIFT:0]
    scores = np.empty((len(grey), 8, len(shifts), len(shifts)), np.float32)
    for t in range(8):
        cross = np.fft.irfft2(spectrum * np.fft.rfft2(turned(other, t)[..., 0] * window), s=(size, size))
        scores[:, t] = cross[:, shifts][:, :, shifts]
    best = scores.reshape(len(grey), -1).argmax(axis=1)
    turn, y, x = np.unravel_index(best, scores.shape[1:])
    return turn, shifts[y], shifts[x]


def _explained(first: Detail, second: Detail, dy: NDArray[np.int64], dx: NDArray[np.int64]) -> NDArray[np.float64]:
    """The multiple correlation of first with second, its gradients and its scaling, over the common content."""
    size = first.fine.shape[1]
    middle = np.arange(_MARGIN, size - _MARGIN)
    pair = np.arange(len(dy))[:, None, None]
    rows, columns = middle[None, :, None] + dy[:, None, None], middle[None, None, :] + dx[:, None, None]
    along_y, along_x = (np.gradient(second.fine, axis=axis) for axis in (1, 2))
    place = (middle - (size - 1) / 2).astype(np.float32)
    y, x = place[None, :, None, None], place[None, None, :, None]
    b, by, bx = (field[pair, rows, columns] for field in (second.fine, along_y, along_x))
    common: Floats = first.known[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN] * second.known[pair, rows, columns]
    terms = np.stack([_centred(term, common) for term in (b, by, bx, y * by, x * bx)], axis=1)
    target = _centred(first.fine[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN], common)
    gram = (terms @ terms.transpose(0, 2, 1)).astype(np.float64)
    toward = (terms @ target[:, :, None])[..., 0].astype(np.float64)
    ridge = (1e-6 * np.trace(gram, axis1=1, axis2=2) + 1e-9)[:, None, None] * np.eye(5)
    weights = np.linalg.solve(gram + ridge, toward[..., None])[..., 0]
    total = np.maximum(np.square(target).sum(axis=1, dtype=np.float64), 1e-9)
    share = np.clip((weights * toward).sum(axis=1) / total, 0, 1)
    # A negative of the picture would fit as well but is no copy, and a few pixels prove nothing.
    sound = (weights[:, 0] > 0) & (common.sum(axis=(1, 2)) >= _LEAST)
    fits: NDArray[np.float64] = np.where(sound, np.sqrt(share), 0)
    return fits


def _centred(term: Floats, where: Floats) -> Floats:
    """[n, h, w, c] → [n, h·w·c], each channel's mean taken off, 0 outside `where`."""
    weight = where[..., None]
    mean = (term * weight).sum(axis=(1, 2), keepdims=True) / np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1)
    centred: Floats = ((term - mean) * weight).reshape(len(term), -1)
    return centred


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[n, s, s]: true where all nine pixels around are; the picture's edge takes nothing away."""
    wide = np.pad(mask, ((0, 0), (1, 1), (1, 1)), constant_values=True)
    rows = wide[:, :-2] & wide[:, 1:-1] & wide[:, 2:]
    inside: NDArray[np.bool_] = rows[:, :, :-2] & rows[:, :, 1:-1] & rows[:, :, 2:]
    return inside


def _blur(images: Floats) -> Floats:
    """[n, s, s, c] → the same, blurred along both axes; the weights sum to 1 at the edges too."""
    rows = _blur_matrix(images.shape[1])
    n, size, _, channels = images.shape
    down = (rows @ images.reshape(n, size, -1)).reshape(n, size, size, channels)
    blurred: Floats = rows @ down
    return blurred


@cache
def _blur_matrix(size: int) -> Floats:
    """[s, s]: a Gaussian along one axis."""
    place = np.arange(size)
    weights = np.exp(-np.square(place[:, None] - place[None, :]) / (2 * _BLUR**2))
    rows: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return rows
