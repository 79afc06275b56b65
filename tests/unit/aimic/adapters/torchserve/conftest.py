"""A keeper with a TorchServe that we play."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from aimic.adapters.torchserve import keeper as module
from aimic.adapters.torchserve.front import Front
from aimic.adapters.torchserve.ground import Settings
from aimic.adapters.torchserve.keeper import Keeper
from aimic.ports.predictor import LoadedModel
from tests.unit.aimic.adapters.torchserve.played import HASH, Played


@pytest.fixture
def front(tmp_path: Path) -> Played:
    """What the keeper takes for TorchServe."""
    (tmp_path / "store").mkdir()
    return Played(tmp_path / "store")


@pytest.fixture
def keeper(front: Played, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    """Its thread does nothing: the tests take its steps."""
    monkeypatch.setattr(module, "Ground", lambda _settings: SimpleNamespace(store=front.store))
    monkeypatch.setattr(module, "_LEAVING_S", 0.0)
    monkeypatch.setattr(Keeper, "_run", lambda _keeper: None)
    made = Keeper(Settings(threads=1))
    made.front = cast(Front, front)
    made._up.set()
    return made


@pytest.fixture
def load(keeper: Keeper, tmp_path: Path) -> Callable[..., LoadedModel]:
    """Load a bundle under a name, with this executor if one is given."""
    (tmp_path / "bundle").mkdir()

    def one(name: str, executor: str | None = None) -> LoadedModel:
        return keeper.load(tmp_path / "bundle", HASH, executor, name)

    return one
