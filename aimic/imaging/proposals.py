"""Which pairs are worth comparing: all pairs of descriptors within a radius, without comparing all pairs.

Rows are sorted along their direction of greatest spread. Two points within the radius are within it along any
direction, so each block of rows is compared only with the blocks that overlap its window.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_BLOCK = 1024
_NEAREST = 16
"""Most neighbours kept of one row per block: a set of one picture ten thousand times must not explode."""


@dataclass(frozen=True, slots=True)
class Proposals:
    """Pairs by ascending distance."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: Floats


def within(rows: Floats, radius: float) -> Proposals:
    """Pairs first < second of unit rows [n, d] at most `radius` apart. Rows of zeros (flat pictures) have none."""
    return _search(rows, rows, radius, same=True)


def between(queries: Floats, references: Floats, radius: float) -> Proposals:
    """Pairs (query, reference) at most `radius` apart."""
    return _search(queries, references, radius, same=False)


def _search(left: Floats, right: Floats, radius: float, *, same: bool) -> Proposals:
    direction = _spread(right)
    a, b = _sorted(left, direction), _sorted(right, direction)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]] = []
    for start in range(0, len(a[0]), _BLOCK):
        end = min(start + _BLOCK, len(a[0]))
        low = np.searchsorted(b[1], a[1][start] - radius)
        high = np.searchsorted(b[1], a[1][end - 1] + radius, side="right")
        for other in range(int(low), int(high), _BLOCK):
            stop = min(other + _BLOCK, int(high))
            i, j, distance = _close(left[a[0][start:end]], right[b[0][other:stop]], radius)
            i, j = a[0][start:end][i], b[0][other:stop][j]
            keep = i < j if same else np.ones(len(i), bool)
            found.append((i[keep], j[keep], distance[keep]))
    if not found:
        empty = np.empty(0, np.int64)
        return Proposals(empty, empty, np.empty(0, np.float32))
    first, second, distances = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((second, first, distances))
    return Proposals(first[order], second[order], distances[order])


def _spread(rows: Floats) -> Floats:
    """The first principal direction."""
    centred = rows - rows.mean(axis=0) if len(rows) else rows
    _, vectors = np.linalg.eigh(centred.T @ centred)
    direction: Floats = vectors[:, -1].astype(np.float32)
    return direction


def _sorted(rows: Floats, direction: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Row numbers by their place along the direction, and the places; rows of zeros left out."""
    place = rows @ direction
    order = np.argsort(place, kind="stable")
    order = order[np.abs(rows[order]).sum(axis=1) > 0]
    return order, place[order]


def _close(left: Floats, right: Floats, radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    squared = np.maximum(2 - 2 * (left @ right.T), 0)
    if squared.shape[1] > _NEAREST:
        # The row itself may be among its nearest, hence one more.
        limit = np.partition(squared, _NEAREST, axis=1)[:, _NEAREST, None]
        squared = np.where(squared <= limit, squared, 4)
    i, j = np.nonzero(squared <= radius * radius)
    distance: Floats = np.sqrt(squared[i, j]).astype(np.float32)
    return i.astype(np.int64), j.astype(np.int64), distance
