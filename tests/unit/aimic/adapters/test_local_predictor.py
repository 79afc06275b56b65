"""What the in-process predictor adds to the port's promise."""

import pytest
import torch

from aimic.adapters import local_predictor
from aimic.adapters.local_predictor import LocalPredictor
from aimic.ports.predictor import Predictor
from aimic.settings import available_cpus
from aimic.wiring import predictor


def test_the_address_picks_it() -> None:
    made: Predictor = predictor("local://")
    assert isinstance(made, LocalPredictor)
    made.close()


def test_it_computes_with_the_cpus_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.setattr(local_predictor, "use_threads", used.append)
    monkeypatch.setattr(local_predictor, "load", lambda *_: pytest.fail("threads come first"))
    for threads in (None, 3):
        with pytest.raises(pytest.fail.Exception):
            LocalPredictor(threads).load(None)  # type: ignore[arg-type]  # never looked at
    assert used == [available_cpus(), 3]


def test_importing_it_starts_nothing() -> None:
    before = torch.get_num_threads()
    LocalPredictor()
    assert torch.get_num_threads() == before
