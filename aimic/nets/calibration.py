"""Probabilities that mean what they say: temperature scaling (Guo et al. 2017, "On Calibration")."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aimic.errors import InvalidInputError
from aimic.nets.info import Temperature

LOWEST, HIGHEST = 0.25, 4.0
FEWEST_IMAGES = 50


def probabilities(logits: ArrayLike, temperature: Temperature | float = 1.0) -> NDArray[np.float64]:
    """softmax(logits / temperature) over the last axis, in float64."""
    value = temperature.value if isinstance(temperature, Temperature) else temperature
    scaled = np.asarray(logits, dtype=np.float64) / value
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> Temperature:
    """The temperature in 0.25…4 of least mean cross-entropy.

    `logits` [n, classes] of images the network was not fitted on, `labels` [n] their true indices. Stays 1,
    and says why, below 50 images or when every answer is right (the best temperature would then be zero).
    """
    scores = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.intp)
    if scores.ndim != 2 or truth.shape != scores.shape[:1]:
        raise InvalidInputError(f"logits {scores.shape} and labels {truth.shape} don't belong together.")
    images = len(truth)
    if images < FEWEST_IMAGES:
        return Temperature(images=images, note=f"not fitted: {images} images are too few ({FEWEST_IMAGES})")
    if not np.isfinite(scores).all():
        return Temperature(images=images, note="not fitted: the network gave values that are no numbers")
    if (scores.argmax(axis=1) == truth).all():
        return Temperature(images=images, note="not fitted: there was no wrong answer to learn from")
    return _bounded(scores, truth)


def _bounded(scores: NDArray[np.float64], truth: NDArray[np.intp]) -> Temperature:
    value = 1 / _inverse_temperature(scores, truth)
    note = "at the edge of the allowed range" if value in {LOWEST, HIGHEST} else ""
    return Temperature(value=value, fitted=True, images=len(truth), note=note)


def _inverse_temperature(scores: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    """Bisection on the slope: cross-entropy is convex in 1/temperature, so its slope has one zero."""
    low, high = 1 / HIGHEST, 1 / LOWEST
    if _slope(scores, truth, low) >= 0:
        return low
    if _slope(scores, truth, high) <= 0:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        if _slope(scores, truth, middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _slope(scores: NDArray[np.float64], truth: NDArray[np.intp], inverse: float) -> float:
    expected = (probabilities(scores, 1 / inverse) * scores).sum(axis=1)
    return float((expected - scores[np.arange(len(truth)), truth]).mean())
