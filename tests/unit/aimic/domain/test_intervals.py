"""Intervals that hold as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats import beta

from aimic.domain.intervals import beta_cdf, exact_interval, share_interval


@given(st.floats(0.001, 0.999), st.floats(0.5, 500), st.floats(0.5, 500))
def test_the_incomplete_beta_function_is_scipys(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(float(betainc(a, b, x)), abs=1e-10)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (1, 1), (250, 4000), (7.5, 15)])
def test_clopper_pearson_is_the_textbooks(hits: float, n: float) -> None:
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    assert exact_interval(hits, n) == pytest.approx((low, high), abs=1e-9)


def test_single_images_get_the_binomial_width() -> None:
    right = np.arange(2000) % 10 != 0
    low, high = share_interval(right, range(2000)) or (0, 0)
    assert (low + high) / 2 == pytest.approx(0.9, abs=0.003)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.09 / 2000), rel=0.1)


def test_patients_that_go_right_or_wrong_together_widen_it() -> None:
    units = np.arange(2000) // 50
    right = units % 10 != 0
    narrow, wide = share_interval(right, range(2000)), share_interval(right, units.tolist())
    assert narrow is not None
    assert wide is not None
    assert wide[1] - wide[0] > 4 * (narrow[1] - narrow[0])


def test_few_units_or_no_mistakes_are_judged_exactly() -> None:
    assert share_interval([True] * 500, [i // 50 for i in range(500)]) == exact_interval(10, 10)
    assert share_interval([True] * 100, range(100)) == exact_interval(100, 100)
    assert share_interval([i % 2 == 0 for i in range(40)], [i // 4 for i in range(40)]) == exact_interval(5, 10)
    assert share_interval([], []) is None


def test_it_holds_in_about_95_of_100_sets() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        chance = rng.beta(8, 2, 40)
        right = rng.random((40, 10)) < chance[:, None]
        low, high = share_interval(right.ravel(), np.repeat(np.arange(40), 10).tolist(), seed) or (0, 0)
        held += low <= 0.8 <= high
    assert 0.9 <= held / 300 <= 0.98
