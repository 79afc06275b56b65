"""Dividing units so that every part has its share of every class.

A unit is known here by its class counts alone: `{class: samples}`. The cost of a division is the sum over
parts and classes of (count / class total)², least when every class is spread evenly (the idea of
scikit-learn's StratifiedGroupKFold). For units of one sample the result is exact: a class's counts
in the folds differ by one at most, and so do the folds' sizes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

Counts = Mapping[int, int]


def class_totals(units: Sequence[Counts]) -> Counter[int]:
    """Samples per class over all units."""
    totals: Counter[int] = Counter()
    for unit in units:
        _add(totals, unit)
    return totals


def _add(sums: Counter[int], unit: Counts, sign: int = 1) -> None:
    """Counter.update in a tenth of its time, which at 10⁵ units of one image is most of the time there is."""
    for label, n in unit.items():
        sums[label] += sign * n


def class_units(units: Sequence[Counts]) -> Counter[int]:
    """Units per class: how many independent looks at a class there are."""
    return Counter(label for unit in units for label in unit)


def deal(units: Sequence[Counts], k: int, rng: np.random.Generator) -> list[int]:
    """The fold 0…k-1 of every unit: large units first, each to where it evens the classes out most."""
    weights = {label: 1 / total**2 for label, total in class_totals(units).items()}
    counts = [Counter[int]() for _ in range(k)]
    sizes = [0] * k
    ranks = rng.permutation(k).tolist()
    folds = [0] * len(units)
    for index in _large_first(units, rng):
        unit = units[index]
        if len(unit) == 1:  # as below, in a third of its time
            ((c, n),) = unit.items()
            costs = [(n * (2 * counts[f][c] + n) * weights[c], sizes[f], ranks[f]) for f in range(k)]
        else:
            costs = [
                (sum(n * (2 * counts[f][c] + n) * weights[c] for c, n in unit.items()), sizes[f], ranks[f])
                for f in range(k)
            ]
        best = costs.index(min(costs))
        folds[index] = best
        _add(counts[best], unit)
        sizes[best] += sum(unit.values())
    return folds


def _large_first(units: Sequence[Counts], rng: np.random.Generator) -> list[int]:
    """Indices by size to a power of two, so that seeds differ; then by class, which keeps fold sizes even."""
    order = rng.permutation(len(units)).tolist()
    return sorted(order, key=lambda i: (-sum(units[i].values()).bit_length(), max(units[i], key=units[i].__getitem__)))


def draw(
    units: Sequence[Counts], fraction: float, keep: int, order: Sequence[int], before: Sequence[int] = ()
) -> list[int]:
    """Indices (ascending) of units that make up about `fraction` of every class's samples.

    At least one unit of every class where `keep` units of it stay behind, and never more than that. `order`:
    the order in which units are tried. `before`: units that are in it already.
    """
    totals, left = class_totals(units), class_units(units)
    goals = {label: max(fraction * total, 1.0) for label, total in totals.items()}
    taken: Counter[int] = Counter()
    chosen: set[int] = set()

    def take(index: int) -> None:
        chosen.add(index)
        _add(taken, units[index])
        _add(left, dict.fromkeys(units[index], 1), -1)

    def may(index: int) -> bool:
        return index not in chosen and all(left[label] > keep for label in units[index])

    for index in before:
        take(index)
    for index in order:
        gain = sum(n * (2 * (taken[c] - goals[c]) + n) / totals[c] ** 2 for c, n in units[index].items())
        if gain < 0 and may(index):
            take(index)
    for label in sorted(totals):
        if not taken[label]:
            others = [i for i in order if label in units[i] and may(i)]
            if others:
                take(min(others, key=lambda i: sum(units[i].values())))
    return sorted(chosen)
