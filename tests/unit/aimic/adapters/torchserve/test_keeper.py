"""What the keeper does with a TorchServe that we play; the real one is in tests/serving."""

from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import cast

import pytest

from aimic.adapters.torchserve import keeper as module
from aimic.adapters.torchserve.front import Front, Worker
from aimic.adapters.torchserve.ground import Settings
from aimic.adapters.torchserve.keeper import Keeper
from aimic.errors import UnavailableError
from aimic.ports.predictor import LoadedModel

EAGER, OTHER = "torch-eager-fp32-cpu", "onnxruntime-fp32-cpu"


class Played:
    """A TorchServe that keeps models and runs them by `executor`. It may let none go, and start none."""

    def __init__(self) -> None:
        self.child = SimpleNamespace(running=True)
        self.calls = SimpleNamespace(tokens=SimpleNamespace(renew_due=lambda: None))
        self.models: set[str] = set()
        self.executor = EAGER
        self.lets_go = self.starts = self.answers = True
        self.did: list[str] = []

    def register(self, name: str) -> LoadedModel:
        self.did.append(f"register {name}")
        if name in self.models or not self.starts:
            raise UnavailableError("It did not start.")
        self.models.add(name)
        if not self.answers:
            raise UnavailableError("It did not answer.")
        return LoadedModel(
            name=name, bundle_hash="ab" * 32, executor=self.executor, classes=("a",), image_size=8, memory_bytes=1
        )

    def unregister(self, name: str) -> bool:
        if self.lets_go:
            self.models.discard(name)
        return self.lets_go

    def worker(self, name: str) -> Worker:
        self.did.append(f"look at {name}")
        return Worker(7, ready=True)


@pytest.fixture
def front() -> Played:
    return Played()


@pytest.fixture
def keeper(front: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    """Its thread does nothing: the tests take its steps."""
    (tmp_path / "store").mkdir()
    monkeypatch.setattr(module, "Ground", lambda _settings: SimpleNamespace(store=tmp_path / "store"))
    monkeypatch.setattr(module, "_LEAVING_S", 0.0)
    monkeypatch.setattr(Keeper, "_run", lambda _keeper: None)
    made = Keeper(Settings(threads=1))
    made.front = cast(Front, front)
    made._up.set()
    return made


def _load(keeper: Keeper, tmp_path: Path, name: str, executor: str | None = None) -> LoadedModel:
    (tmp_path / "bundle").mkdir(exist_ok=True)
    return keeper.load(tmp_path / "bundle", "ab" * 32, executor, name)


def test_what_could_not_be_ended_is_ended_later(keeper: Keeper, front: Played, tmp_path: Path) -> None:
    _load(keeper, tmp_path, "one")
    front.lets_go = False
    keeper.unload("one")
    keeper._step()
    assert front.models == {"one"} and not keeper.models
    front.lets_go = True
    keeper._step()
    assert front.models == set()


def test_it_may_come_back_meanwhile(keeper: Keeper, front: Played, tmp_path: Path) -> None:
    """And is then no longer one that leaves."""
    _load(keeper, tmp_path, "one")
    front.lets_go = False
    keeper.unload("one")
    front.lets_go = True
    _load(keeper, tmp_path, "one")
    keeper._step()
    assert front.models == {"one"} == set(keeper.models)


def test_it_may_leave_although_nobody_heard_so(keeper: Keeper, front: Played, tmp_path: Path) -> None:
    """TorchServe's answer came too late, and the model is loaded again."""
    _load(keeper, tmp_path, "one")
    front.lets_go = False
    keeper.unload("one")
    front.models.clear()
    _load(keeper, tmp_path, "one")
    front.lets_go = True
    keeper._step()
    assert front.models == {"one"} == set(keeper.models)


def test_while_another_is_loaded_nobody_waits_to_end_one(keeper: Keeper, front: Played, tmp_path: Path) -> None:
    """A load takes minutes, and the workers of the others are looked at meanwhile."""
    _load(keeper, tmp_path, "one")
    _load(keeper, tmp_path, "two")
    front.lets_go = False
    keeper.unload("one")
    front.lets_go = True
    loads, loaded = Event(), Event()

    def load() -> None:
        with keeper._changing:
            loads.set()
            loaded.wait(60)

    loading = Thread(target=load)
    loading.start()
    assert loads.wait(60)
    keeper.suspect()
    front.did.clear()
    stepping = Thread(target=keeper._step)
    stepping.start()
    stepping.join(60)
    ended = not stepping.is_alive()
    loaded.set()
    loading.join(60)
    assert ended and front.did == ["look at two"] and front.models == {"one", "two"}
    keeper._step()
    assert front.models == {"two"}


def test_a_fenced_one_is_ended_too(keeper: Keeper, front: Played, tmp_path: Path) -> None:
    """And one that started, but did not answer: until the next try it holds no memory."""
    _load(keeper, tmp_path, "one")
    front.lets_go = False
    keeper.models["one"].fence.close(1e9, "died")
    keeper._end(keeper.front, "one")
    front.lets_go = True
    keeper._step()
    assert front.models == set() and set(keeper.models) == {"one"}
    front.answers = False
    keeper._restore(cast(Front, front), keeper.models["one"])
    assert front.models == set()


def test_others_are_looked_at_between_two_tries(keeper: Keeper, front: Played, tmp_path: Path) -> None:
    """Each may take minutes."""
    for name in ("one", "two", "sound"):
        _load(keeper, tmp_path, name)
    front.starts = False
    for name in ("one", "two"):
        keeper.models[name].fence.close(-1000, "died")
    front.did.clear()
    for _ in range(2):
        keeper.suspect()
        keeper._step()
    assert front.did == ["look at sound", "register one", "look at sound", "register two"]
