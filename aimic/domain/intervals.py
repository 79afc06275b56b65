"""95 % intervals for a share of successes, from independent units (patients, slides, single images).

Images of one unit go right or wrong together, so that the unit is what is drawn again: a bootstrap over units
(Efron and Tibshirani 1993, chapter 8), and, where units are few or nothing varies, Clopper and Pearson's
exact interval (Biometrika 26:404, 1934) with the number of units in place of the number of images.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEW_UNITS = 20
DRAWS = 2000
_STEPS = 60


def share_interval(
    right: Sequence[bool] | NDArray[np.bool_], units: Sequence[int], seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % interval of the share that is `right`; `units` says which samples belong together.

    None without samples. The same arguments give the same interval.
    """
    sums: dict[int, list[int]] = {}
    for unit, hit in zip(units, right, strict=True):
        entry = sums.setdefault(int(unit), [0, 0])
        entry[0] += 1
        entry[1] += bool(hit)
    if not sums:
        return None
    total, hits = (sum(entry[part] for entry in sums.values()) for part in (0, 1))
    if len(sums) < FEW_UNITS or hits in {0, total}:
        return exact_interval(hits / total * len(sums), len(sums))
    # Units alike in size and hits are drawn together, which makes 10⁵ units as quick as ten.
    kinds = Counter((size, hit) for size, hit in sums.values())
    shapes = np.array(sorted(kinds), dtype=np.float64)
    weights = np.array([kinds[kind] for kind in sorted(kinds)]) / len(sums)
    drawn = np.random.default_rng([seed, len(sums)]).multinomial(len(sums), weights, size=DRAWS) @ shapes
    low, high = np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975]).tolist()
    return low, high


def exact_interval(hits: float, n: float, tail: float = 0.025) -> tuple[float, float]:
    """Clopper–Pearson with `tail` on either side (95 %); `hits` and `n` may be fractions of effective counts."""
    low = 0.0 if hits <= 0 else _beta_quantile(tail, hits, n - hits + 1)
    high = 1.0 if hits >= n else _beta_quantile(1 - tail, hits + 1, n - hits)
    return low, high


def _beta_quantile(p: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = p, by bisection to 2⁻⁶⁰."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(middle, a, b) < p else (low, middle)
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b) for a, b > 0 (DLMF 8.17.22, Lentz's method)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_cdf(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + term * d, tiny)
            c = _away(1 + term / c, tiny)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_front) * value / a


def _away(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
