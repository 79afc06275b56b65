"""Units: what must never be divided. Samples of one group or one duplicate cluster, and chains of both."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Union:
    """Disjoint sets of 0…n-1 that can be joined (union by size, path halving)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))
        self._size = [1] * n

    def find(self, item: int) -> int:
        """The representative of the item's set."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, first: int, second: int) -> None:
        """Make one set of the two items' sets."""
        a, b = self.find(first), self.find(second)
        if a == b:
            return
        if self._size[a] < self._size[b]:
            a, b = b, a
        self._parent[b] = a
        self._size[a] += self._size[b]

    def dense(self) -> Ints:
        """[n] set numbers 0, 1, … in order of first appearance."""
        numbers: dict[int, int] = {}
        return np.array(
            [numbers.setdefault(self.find(item), len(numbers)) for item in range(len(self._parent))],
            dtype=np.int64,
        )


def joined(n: int, pairs: Iterable[tuple[int, int]]) -> Ints:
    """[n] dense set numbers after joining every pair."""
    union = Union(n)
    for first, second in pairs:
        union.join(first, second)
    return union.dense()


def units(groups: Sequence[int | None], clusters: Sequence[int]) -> Ints:
    """[n] dense unit numbers: samples that share a group or a cluster, directly or through others, share a unit.

    A sample without a group (None) is held together with others by its cluster only.
    """
    union = Union(len(clusters))
    for names in (groups, clusters):
        first: dict[int, int] = {}
        for index, name in enumerate(names):
            if name is not None:
                union.join(first.setdefault(int(name), index), index)
    return union.dense()
