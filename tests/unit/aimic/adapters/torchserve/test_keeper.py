"""What becomes of models that can't be ended or started; the real TorchServe is in tests/serving."""

from collections.abc import Callable
from threading import Event, Thread
from typing import cast

from aimic.adapters.torchserve.front import Front
from aimic.adapters.torchserve.keeper import Keeper
from aimic.ports.predictor import LoadedModel
from tests.unit.aimic.adapters.torchserve.played import Played

Load = Callable[..., LoadedModel]


def test_what_could_not_be_ended_is_ended_later(keeper: Keeper, front: Played, load: Load) -> None:
    load("one")
    front.lets_go = False
    keeper.unload("one")
    keeper._step()
    assert set(front.models) == {"one"} and not keeper.models
    front.lets_go = True
    keeper._step()
    assert not front.models


def test_it_may_come_back_meanwhile(keeper: Keeper, front: Played, load: Load) -> None:
    """And is then no longer one that leaves."""
    load("one")
    front.lets_go = False
    keeper.unload("one")
    front.lets_go = True
    load("one")
    keeper._step()
    assert set(front.models) == {"one"} == set(keeper.models)


def test_it_may_leave_although_nobody_heard_so(keeper: Keeper, front: Played, load: Load) -> None:
    """TorchServe's answer came too late, and the model is loaded again."""
    load("one")
    front.lets_go = False
    keeper.unload("one")
    front.models.clear()
    load("one")
    front.lets_go = True
    keeper._step()
    assert set(front.models) == {"one"} == set(keeper.models)


def test_while_another_is_loaded_nobody_waits_to_end_one(keeper: Keeper, front: Played, load: Load) -> None:
    """A load takes minutes, and the workers of the others are looked at meanwhile."""
    load("one")
    load("two")
    front.lets_go = False
    keeper.unload("one")
    front.lets_go = True
    loads, loaded = Event(), Event()

    def loading() -> None:
        with keeper._changing:
            loads.set()
            loaded.wait(120)

    threads = [Thread(target=loading), Thread(target=keeper._step)]
    threads[0].start()
    assert loads.wait(60)
    front.did.clear()
    keeper.suspect()
    threads[1].start()
    threads[1].join(60)
    stepped = not threads[1].is_alive()
    loaded.set()
    for thread in threads:
        thread.join(60)
    assert stepped and front.did == ["look at two"] and set(front.models) == {"one", "two"}
    keeper._step()
    assert set(front.models) == {"two"}


def test_a_fenced_one_holds_no_memory(keeper: Keeper, front: Played, load: Load) -> None:
    """Nor one that was started again and gave no answer."""
    load("one")
    kept = keeper.models["one"]
    front.answers = False
    keeper._restore(cast(Front, front), kept)
    assert not front.models and kept.away and keeper.models == {"one": kept}


def test_others_are_looked_at_between_two_tries(keeper: Keeper, front: Played, load: Load) -> None:
    """Each may take minutes."""
    for name in ("one", "two", "sound"):
        load(name)
    front.starts = False
    for name in ("one", "two"):
        keeper.models[name].fence.close(-1000, "died")
    front.did.clear()
    for _ in range(2):
        keeper.suspect()
        keeper._step()
    assert front.did == ["look at sound", "register one", "look at sound", "register two"]
