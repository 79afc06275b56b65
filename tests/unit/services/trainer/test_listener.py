"""A trainer's ear: it never stops polling, commits at once, and outlives any trouble with the log."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aimic.adapters.sqlite_events import SqliteEvents
from aimic.errors import UnavailableError
from aimic.events import TaskReady
from aimic.ports.events import Delivery
from services.trainer import listener
from services.trainer.listener import Listener


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEvents]:
    events = SqliteEvents(tmp_path / "events.db")
    yield events
    events.close()


def _ready(number: int) -> TaskReady:
    return TaskReady(site="local", aggregate=f"t{number}", sequence=1, kind="fold")


def _heard(log: SqliteEvents, ear: Listener) -> bool:
    for number in range(100):  # it joins on its own thread, at the end of the log
        log.publish(_ready(number))
        if ear.wait(0.1):
            return True
    return False


def _all_committed(path: Path) -> None:
    """Wait for it: what was published just before the ear heard may still be on its way to it."""
    left = "SELECT count(*) FROM log JOIN claims USING (topic, part) WHERE grp = ? AND position > committed"
    ends = time.monotonic() + 30
    with contextlib.closing(sqlite3.connect(path)) as database:
        while database.execute(left, (listener.GROUP,)).fetchone() != (0,):
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_what_is_heard_while_nobody_waits_is_there_when_somebody_does(log: SqliteEvents, tmp_path: Path) -> None:
    ear = Listener(log)
    ear.start()
    assert _heard(log, ear) and ear.wait(0)
    _all_committed(tmp_path / "events.db")
    time.sleep(listener.POLL_S)  # the flag is set after that
    ear.forget()
    assert not ear.wait(0)
    log.publish(_ready(100))
    assert ear.wait(10)
    ear.stop()


def test_it_commits_at_once(log: SqliteEvents, tmp_path: Path) -> None:
    ear = Listener(log)
    ear.start()
    assert _heard(log, ear)
    _all_committed(tmp_path / "events.db")
    ear.stop()
    again = log.subscribe((TaskReady.topic,), listener.GROUP)
    assert again.poll(0.2) == []
    again.close()


class Trouble:
    """An event log whose members break again and again, in ways nobody foresaw."""

    def __init__(self) -> None:
        self.made = self.alive = 0

    def subscribe(self, topics: tuple[str, ...], group: str) -> "Trouble":
        self.made += 1
        if self.made % 3 == 0:
            raise UnavailableError("no broker")
        self.alive += 1
        return self

    def poll(self, timeout_s: float) -> list[Delivery]:
        if self.made % 3 == 1:
            raise KeyError("a fault of the library")
        return []

    def commit(self) -> None:
        raise UnavailableError("the broker went away")

    def close(self) -> None:
        self.alive -= 1


@pytest.mark.timeout(60)
def test_no_trouble_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "AGAIN_S", 0.01)
    trouble = Trouble()
    ear = Listener(trouble)  # type: ignore[arg-type] # plays what is asked of it
    ear.start()
    while trouble.made < 6:
        time.sleep(0.01)
    ear.stop()
    assert trouble.alive == 0
    assert "wake-ups" not in {thread.name for thread in threading.enumerate()}
