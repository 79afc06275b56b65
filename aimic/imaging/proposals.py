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
_MOST = 64
"""Neighbours of one row from which it looks for no more, over all blocks."""


@dataclass(frozen=True, slots=True)
class Proposals:
    """Pairs by ascending distance."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
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
    taken = np.zeros(len(left), np.int64)
    found: list[_Pairs] = []
    for start in range(0, len(a[0]), _BLOCK):
        end = min(start + _BLOCK, len(a[0]))
        # Within one set two blocks meet once, from the earlier one.
        low = start if same else int(np.searchsorted(b[1], a[1][start] - radius))
        high = int(np.searchsorted(b[1], a[1][end - 1] + radius, side="right"))
        for other in range(low, high, _BLOCK):
            rows = a[0][start:end]
            rows, columns = rows[taken[rows] < _MOST], b[0][other : min(other + _BLOCK, high)]
            i, j, distance = _close(left[rows], right[columns], radius)
            i, j = rows[i], columns[j]
            if same and other == start:
                others = i != j
                i, j, distance = i[others], j[others], distance[others]
            taken += np.bincount(i, minlength=len(left))
            found.append(_once(i, j, distance, both_ways=other == start) if same else _small(i, j, distance))
    return _nearest_first(found)


_Pairs = tuple[NDArray[np.int32], NDArray[np.int32], Floats]


def _once(first: NDArray[np.int64], second: NDArray[np.int64], distance: Floats, *, both_ways: bool) -> _Pairs:
    """The pairs with the lower number first; where a block met itself each may be there from both sides."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    if both_ways:
        _, once = np.unique(low * (int(high.max(initial=0)) + 1) + high, return_index=True)
        low, high, distance = low[once], high[once], distance[once]
    return _small(low, high, distance)


def _small(first: NDArray[np.int64], second: NDArray[np.int64], distance: Floats) -> _Pairs:
    """In half the memory: there may be millions."""
    return first.astype(np.int32), second.astype(np.int32), distance


def _nearest_first(found: list[_Pairs]) -> Proposals:
    if not found:
        empty = np.empty(0, np.int32)
        return Proposals(empty, empty, np.empty(0, np.float32))
    first, second, distances = (np.concatenate(part) for part in zip(*found, strict=True))
    found.clear()
    order = np.lexsort((second, first, distances))
    return Proposals(first[order], second[order], distances[order])


def _spread(rows: Floats) -> Floats:
    """The first principal direction."""
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32)
    mean = rows.mean(axis=0)
    squares = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _BLOCK):
        centred = rows[start : start + _BLOCK] - mean
        squares += centred.T @ centred
    _, vectors = np.linalg.eigh(squares)
    direction: Floats = vectors[:, -1].astype(np.float32)
    return direction


def _sorted(rows: Floats, direction: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Row numbers by their place along the direction, and the places; rows of zeros left out."""
    place = rows @ direction
    order = np.argsort(place, kind="stable")
    something: NDArray[np.bool_] = np.logical_or.reduce(rows, axis=1)
    order = order[something[order]]
    return order, place[order]


def _close(left: Floats, right: Floats, radius: float) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    likeness = left @ right.T
    near = likeness >= 1 - radius * radius / 2
    if np.count_nonzero(near) > _NEAREST * len(left):
        # The row itself may be among its nearest, hence one more.
        place = likeness.shape[1] - min(_NEAREST + 1, likeness.shape[1])
        nearest = np.zeros_like(near)
        np.put_along_axis(nearest, np.argpartition(likeness, place, axis=1)[:, place:], True, axis=1)
        near &= nearest
    i, j = np.divmod(np.flatnonzero(near), likeness.shape[1])
    distance: Floats = np.sqrt(np.maximum(2 - 2 * likeness[i, j], 0)).astype(np.float32)
    return i, j, distance
