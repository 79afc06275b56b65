"""ModelsChanged wakes the reconciler."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from aimic.adapters.sqlite_events import SqliteEvents
from aimic.errors import UnavailableError
from aimic.events import ModelsChanged
from aimic.ports.events import Events
from services.inference.reconcile import Listener
from services.inference.settings import Settings


def changed(sequence: int) -> ModelsChanged:
    return ModelsChanged(site="local", aggregate="models", sequence=sequence)


def published_until_heard(events: Events, heard: Callable[[], bool]) -> bool:
    """A new group starts at a topic's end, so what is published before it joins isn't heard: say it again."""
    for sequence in range(100):
        events.publish(changed(sequence))
        time.sleep(0.1)
        if heard():
            return True
    return False


def test_a_change_wakes_and_stopping_ends_the_thread(tmp_path: Path) -> None:
    woken = threading.Event()
    listener = Listener(lambda: SqliteEvents(tmp_path / "events.db"), "inference-0", woken.set)
    listener.start()
    events = SqliteEvents(tmp_path / "events.db")
    try:
        assert published_until_heard(events, woken.is_set)
    finally:
        events.close()
        listener.stop()
    assert not listener._thread.is_alive()


def test_events_that_are_away_are_no_obstacle() -> None:
    asked = threading.Event()

    def away() -> Events:
        asked.set()
        raise UnavailableError("no broker here")

    listener = Listener(away, "inference-0", lambda: None)
    listener.start()
    assert asked.wait(5)
    listener.stop()
    assert not listener._thread.is_alive()


def test_each_replica_hears_for_itself(tmp_path: Path) -> None:
    one, other = Settings(home=tmp_path, inference_port=8001), Settings(home=tmp_path, inference_port=8011)
    assert one.replica != other.replica and one.replica == Settings(home=tmp_path).replica
    assert Settings(home=tmp_path, inference_replica="rack 3").replica == "rack 3"
