"""The order of measurements, and ratios of them.

A machine's speed drifts. So what is to be compared is measured in one run, in the order A B B A, A B B A …, and each
ratio is of two measurements that stand beside each other.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Measured = dict[str, list[float]]


class Spread(NamedTuple):
    """Of several measurements of one thing."""

    median: float
    low: float
    high: float

    def words(self, unit: str = "", digits: int = 1) -> str:
        """Median, and in brackets the lowest and the highest."""
        return f"{self.median:.{digits}f}{unit} ({self.low:.{digits}f}–{self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Of one or more values."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Of the n-th of one side to the n-th of the other."""
    return spread([one / other for one, other in zip(over, under, strict=True)])


def geometric(spreads: Sequence[Spread]) -> Spread:
    """The geometric mean of several ratios: of their medians, their lowest and their highest values."""
    return Spread(*(statistics.geometric_mean(values) for values in zip(*spreads, strict=True)))


def interleave(
    sides: Mapping[str, Callable[[], float]], rounds: int, told: Callable[[str, float], None] = lambda *_: None
) -> Measured:
    """Measure every side twice a round, forth and then back. `told` hears each measurement."""
    measured: Measured = {name: [] for name in sides}
    for _ in range(rounds):
        for name in (*sides, *reversed(tuple(sides))):
            value = sides[name]()
            measured[name].append(value)
            told(name, value)
    return measured
