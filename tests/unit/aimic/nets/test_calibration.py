"""Temperature against scipy's minimum and against what must be refused."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from aimic.errors import InvalidInputError
from aimic.nets.calibration import fit_temperature, probabilities
from aimic.nets.info import Temperature


def _answers(scale: float, n: int = 400) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits whose softmax is right at scale 1; `scale` makes them too sure or too modest."""
    draw = np.random.default_rng(4)
    logits = draw.normal(size=(n, 5)) * 2
    truth = np.array([draw.choice(5, p=row) for row in probabilities(logits)])
    return logits * scale, truth


def _loss(logits: NDArray[np.float64], truth: NDArray[np.int64], temperature: float) -> float:
    return float(-np.log(probabilities(logits, temperature)[np.arange(len(truth)), truth]).mean())


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_is_the_minimum(scale: float) -> None:
    logits, truth = _answers(scale)
    fitted = fit_temperature(logits, truth)
    best = minimize_scalar(
        lambda t: _loss(logits, truth, t), bounds=(0.25, 4), method="bounded", options={"xatol": 1e-9}
    )
    assert fitted.fitted and fitted.images == 400 and fitted.note == ""
    assert fitted.value == pytest.approx(best.x, abs=1e-5)
    assert fitted.value == pytest.approx(scale, rel=0.15)


@pytest.mark.parametrize(("scale", "edge"), [(0.05, 0.25), (30.0, 4.0)])
def test_stays_in_its_range_and_says_so(scale: float, edge: float) -> None:
    fitted = fit_temperature(*_answers(scale))
    assert fitted.value == edge and "edge" in fitted.note


def test_few_images_are_not_enough() -> None:
    logits, truth = _answers(3.0)
    fitted = fit_temperature(logits[:49], truth[:49])
    assert fitted == Temperature(images=49, note=fitted.note)
    assert "49" in fitted.note and fitted.value == 1 and not fitted.fitted
    assert fit_temperature(logits[:50], truth[:50]).fitted


def test_without_errors_there_is_nothing_to_learn() -> None:
    logits = np.eye(3)[np.arange(90) % 3]
    fitted = fit_temperature(logits, np.arange(90) % 3)
    assert fitted.value == 1 and "no wrong answer" in fitted.note


def test_broken_logits_are_named() -> None:
    logits, truth = _answers(1.0)
    logits[3, 2] = np.nan
    assert "no numbers" in fit_temperature(logits, truth).note


def test_misfit_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        fit_temperature(np.zeros((4, 2)), np.zeros(3))


def test_probabilities_are_float64_and_survive_large_logits() -> None:
    found = probabilities(np.array([[1e4, 0, -1e4], [0, 0, 0]], dtype=np.float32), Temperature(value=2.0))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]), atol=1e-15)
    np.testing.assert_allclose(probabilities([0.0, np.log(3)]), [0.25, 0.75])
