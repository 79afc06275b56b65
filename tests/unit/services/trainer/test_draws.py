"""Draws are functions of what they are for, not of when they are made."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.draws import batches, draw, epoch_order, flips_turns

HASHES = tuple(f"sample-{index}" for index in range(200))


def test_an_order_is_a_permutation_of_its_own_for_each_epoch_and_seed() -> None:
    orders = [tuple(epoch_order(range(200), HASHES, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(200)) for order in orders)
    assert len(set(orders)) == 4


def test_an_order_does_not_depend_on_how_the_samples_were_listed() -> None:
    assert epoch_order(range(200), HASHES, 0, 0) == epoch_order(range(199, -1, -1), HASHES, 0, 0)


@given(st.integers(0, 300), st.integers(1, 40))
def test_batches_hold_everything_once_and_none_is_alone(n: int, size: int) -> None:
    parts = batches(range(n), size)
    assert [index for part in parts for index in part] == list(range(n))
    if size > 1 and n > 1:
        assert all(2 <= len(part) <= size + 1 for part in parts)


def test_turns_reach_all_eight_positions_about_equally_often() -> None:
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(1, 4, 4, 3)
    images = np.repeat(image, 200, axis=0)
    turned = flips_turns(images, HASHES, 0, 0)
    counts = np.unique(turned.reshape(200, -1), axis=0, return_counts=True)[1]
    assert len(counts) == 8
    assert counts.min() > 10
    assert np.array_equal(np.sort(turned.reshape(200, 16, 3), axis=1), np.sort(images.reshape(200, 16, 3), axis=1))


def test_a_turn_does_not_depend_on_the_batch() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    together = flips_turns(images, HASHES[:8], 3, 5)
    alone = flips_turns(images[4:5], HASHES[4:5], 3, 5)
    assert np.array_equal(together[4:5], alone)


def test_purposes_draw_apart() -> None:
    assert len({draw(0, 0, "a", purpose) for purpose in ("order", "flips_turns", "init")}) == 3
