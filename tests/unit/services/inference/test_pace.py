"""What batches cost, learned."""

import pytest

from services.inference.pace import Pace


def test_a_size_that_is_known_is_told_as_it_was() -> None:
    pace = Pace()
    pace.learn(1, 0.1)
    pace.learn(8, 0.4)
    assert pace.expected(1) == pytest.approx(0.1)
    assert pace.expected(8) == pytest.approx(0.4)
    assert pace.expected(6) == pytest.approx(0.3)


def test_a_size_that_is_not_known_is_told_rather_too_long() -> None:
    pace = Pace()
    pace.learn(8, 0.4)
    assert pace.expected(2) == pytest.approx(0.4)
    assert pace.expected(32) == pytest.approx(1.6)


def test_it_follows_changes() -> None:
    pace = Pace()
    pace.learn(4, 4.0)
    for _ in range(50):
        pace.learn(4, 0.4)
    assert pace.expected(4) == pytest.approx(0.4, rel=0.01)
    assert pace.image_s == pytest.approx(0.1, rel=0.01)


def test_the_first_batch_counts_in_full() -> None:
    pace = Pace()
    pace.learn(2, 10.0)
    assert pace.image_s == pytest.approx(5.0)


def test_the_largest_batch_within_a_time() -> None:
    pace = Pace()
    for size in (1, 2, 4, 8):
        pace.learn(size, 0.1 * size)
    assert [pace.most(seconds, 8) for seconds in (0.01, 0.1, 0.35, 0.45, 99)] == [1, 1, 2, 4, 8]
    assert pace.most(99, 5) == 5
