"""No answer names an executor that did not compute it, whatever a worker runs that TorchServe started by itself."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from aimic.adapters import torchserve_predictor as module
from aimic.adapters.torchserve.ground import Settings
from aimic.adapters.torchserve.keeper import Keeper
from aimic.adapters.torchserve_predictor import TorchServePredictor
from aimic.errors import UnavailableError
from aimic.ports.predictor import LoadedModel
from tests.unit.aimic.adapters.torchserve.played import EAGER, OTHER, SIDE, Played

Load = Callable[..., LoadedModel]
PIXELS = np.zeros((2, SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def predictor(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> TorchServePredictor:
    monkeypatch.setattr(module, "Keeper", lambda _settings: keeper)
    return TorchServePredictor(Settings(threads=1))


def _pause_over(keeper: Keeper, name: str) -> None:
    """The fence's pause is over."""
    keeper.models[name].fence.until = time.monotonic()


def _lost(keeper: Keeper, front: Played, predictor: TorchServePredictor) -> None:
    """The worker died, and the next one can't run what it ran."""
    front.cannot = {OTHER}
    front.start("one")
    with pytest.raises(UnavailableError):
        predictor.predict("one", PIXELS)
    keeper._step()


def test_what_took_its_place_at_load_stays(front: Played, load: Load, predictor: TorchServePredictor) -> None:
    """And is named, also when the next worker could run what was wished."""
    front.cannot = {OTHER}
    assert load("one", OTHER).executor == EAGER
    front.cannot = set()
    front.start("one")
    assert front.models["one"] == EAGER
    assert predictor.predict("one", PIXELS).shape == (2, 1)


def test_what_came_back_otherwise_is_ended_and_told(
    keeper: Keeper, front: Played, load: Load, predictor: TorchServePredictor
) -> None:
    assert load("one", OTHER).executor == OTHER
    assert predictor.predict("one", PIXELS).shape == (2, 1)
    _lost(keeper, front, predictor)
    assert not front.models and "in another way than its answers say" in predictor.troubles()["one"]
    with pytest.raises(UnavailableError, match="gets no images for now"):
        predictor.predict("one", PIXELS)


def test_it_is_not_started_otherwise_either(
    keeper: Keeper, front: Played, load: Load, predictor: TorchServePredictor
) -> None:
    """It waits, for longer each time, and holds no memory meanwhile, until it runs what it is named by."""
    load("one", OTHER)
    _lost(keeper, front, predictor)
    for _ in range(2):
        _pause_over(keeper, "one")
        keeper._step()
        assert not front.models and "could not be started again" in predictor.troubles()["one"]
    front.cannot = set()
    _pause_over(keeper, "one")
    keeper._step()
    assert front.models == {"one": OTHER} and predictor.troubles() == {}
    assert predictor.predict("one", PIXELS).shape == (2, 1)


def test_an_old_refusal_says_nothing_of_the_next_worker(
    keeper: Keeper, front: Played, load: Load, predictor: TorchServePredictor
) -> None:
    """It was given before the model was started again, and is heard after."""
    load("one", OTHER)
    before = time.monotonic()
    _lost(keeper, front, predictor)
    front.cannot = set()
    _pause_over(keeper, "one")
    keeper._step()
    keeper.models["one"].refused_at = before
    keeper.suspect()
    keeper._step()
    assert front.models == {"one": OTHER} and predictor.troubles() == {}


def test_a_name_that_went_to_another_executor_meanwhile(
    keeper: Keeper, front: Played, load: Load, predictor: TorchServePredictor
) -> None:
    """Who asked the one before gets no answer of the one after, also in the middle of his images."""
    load("one", OTHER)
    before = keeper.models["one"]
    load("one", EAGER)
    with pytest.raises(UnavailableError, match="just unloaded"):
        predictor._logits(before, PIXELS, time.monotonic() + 60)
    assert predictor.predict("one", PIXELS).shape == (2, 1)
