"""Heads against scikit-learn, on numbers drawn here."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from services.trainer.heads import (
    FINAL_TOLERANCE,
    LAMBDAS,
    Head,
    Problem,
    Standard,
    choose_strength,
    loss_of,
)

N, D, CLASSES = 120, 30, 4


@pytest.fixture
def data() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Overlapping classes on features of very different scales, one of them constant."""
    rng = np.random.default_rng(3)
    targets = np.arange(N) % CLASSES
    features = rng.normal(size=(N, D)) + rng.normal(size=(CLASSES, D))[targets]
    features *= np.geomspace(1e-3, 1e3, D)
    features[:, 5] = 7.0
    return features, targets


def _probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("images", [N, D - 6])
@pytest.mark.parametrize("strength", [1e-1, 1e-3, 1e-5])
def test_gives_the_probabilities_of_scikit_learn(
    data: tuple[NDArray[np.float64], NDArray[np.int64]], strength: float, images: int
) -> None:
    features, targets = data[0][:images], data[1][:images]
    standard = Standard.of(features)
    ours = Problem(standard(features), targets, CLASSES).solve(strength, None, FINAL_TOLERANCE).folded(standard)
    theirs = LogisticRegression(C=1 / (2 * strength * images), tol=1e-9, max_iter=20_000)
    scaled = StandardScaler().fit_transform(features)
    theirs.fit(scaled, targets)
    difference = _probabilities(ours.logits(features)) - theirs.predict_proba(scaled)
    assert np.abs(difference).max() < 1e-4


def test_the_start_does_not_decide_the_head(data: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    features, targets = data
    x = Standard.of(features)(features)
    cold = Problem(x, targets, CLASSES).solve(1e-3, None, FINAL_TOLERANCE)
    start = Head(np.full((CLASSES, D), 0.3), np.arange(CLASSES).astype(np.float64))
    warm = Problem(x, targets, CLASSES).solve(1e-3, start, FINAL_TOLERANCE)
    assert np.abs(_probabilities(cold.logits(x)) - _probabilities(warm.logits(x))).max() < 1e-5


def test_the_strength_is_the_best_of_the_grid_on_the_inner_part(
    data: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    features, targets = data
    x = Standard.of(features)(features)
    fit, inner = slice(0, 80), slice(80, N)
    choice = choose_strength(x[fit], targets[fit], x[inner], targets[inner], CLASSES)
    losses = {
        strength: loss_of(
            Problem(x[fit], targets[fit], CLASSES).solve(strength, None, FINAL_TOLERANCE), x[inner], targets[inner]
        )
        for strength in LAMBDAS
    }
    assert choice.strength == min(losses, key=lambda strength: losses[strength])


def test_a_class_without_images_is_learned_as_never_right() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    head = Problem(x, np.arange(20) % 2, 3).solve(1e-2, None, FINAL_TOLERANCE)
    assert _probabilities(head.logits(x))[:, 2].max() < 0.05
