"""What there is to divide into folds, and the words for it."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from aimic.domain.balance import Counts
from aimic.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Case:
    """What there is to divide, and the words for it."""

    labels: Sequence[int]
    units: Sequence[int]
    names: Sequence[str]
    """Of the classes."""
    seed: int
    keys: Sequence[str]
    """The samples' hashes; empty where nothing is locked."""
    grouped: bool
    """Whether patients or slides are known."""

    def rng(self, purpose: int, fold: int = 0) -> np.random.Generator:
        """Draws of one purpose; purposes are numbers that keep them apart."""
        return np.random.default_rng([self.seed, purpose, fold])

    def order(self, n: int, purpose: int, fold: int = 0) -> list[int]:
        """0…n-1, shuffled by the seed."""
        return list(self.rng(purpose, fold).permutation(n).tolist())

    def place(self, samples: Sequence[int]) -> str:
        """A unit's place in the queue for the locked part: its own, whatever else the data set holds."""
        key = min(self.keys[sample] for sample in samples) if self.keys else str(samples[0])
        return hashlib.sha256(f"locked test part {key}".encode()).hexdigest()

    def members(self, samples: Collection[int]) -> dict[int, list[int]]:
        """The given samples by unit, units in order of first appearance."""
        found: dict[int, list[int]] = {}
        for sample in sorted(samples):
            found.setdefault(self.units[sample], []).append(sample)
        return found

    def counts(self, members: dict[int, list[int]]) -> list[Counts]:
        """Samples per class of each unit. Those of one sample share theirs: there may be a hundred thousand."""
        single = {label: {label: 1} for label in range(len(self.names))}
        return [
            single[self.labels[samples[0]]] if len(samples) == 1 else Counter(self.labels[sample] for sample in samples)
            for samples in members.values()
        ]

    def named(self, classes: Collection[int]) -> str:
        """Names of classes, for a message."""
        return ", ".join(self.names[label] for label in sorted(classes))


def at_least_two(case: Case, kept: set[int], aside: set[int], need: str) -> None:
    """InvalidInputError when fewer than two classes are `kept`; `need`: what a class needs, in words."""
    if len(kept) >= 2:
        return
    there = f"Only {case.named(kept)} has" if kept else "No class has"
    left_out = f" (too few: {case.named(aside)})" if aside else ""
    raise InvalidInputError(
        f"{there} the {need} that this split needs{left_out}, and training needs two classes. "
        "Add images, or ask for fewer folds or a hold-out."
    )
