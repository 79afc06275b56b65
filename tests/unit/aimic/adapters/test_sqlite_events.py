"""No connection to the log is left open, whatever goes wrong; and nobody is refused one."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from aimic.adapters.sqlite_events import SqliteEvents
from aimic.errors import UnavailableError
from aimic.events import TaskReady

TOPICS = (TaskReady.topic,)


@pytest.fixture
def still_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many connections were opened and not closed; none waits for another's lock."""
    found: set[int] = set()
    real = sqlite3.connect

    class Counted(sqlite3.Connection):
        def close(self) -> None:
            found.discard(id(self))
            super().close()

    def connect(path: Path, **options: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = real(path, **(options | {"timeout": 0.01, "factory": Counted}))
        found.add(id(made))
        return made

    monkeypatch.setattr(sqlite3, "connect", connect)
    return lambda: len(found)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEvents]:
    events = SqliteEvents(tmp_path / "events.db")
    yield events
    events.close()


@contextmanager
def _another_writes(path: Path) -> Iterator[None]:
    with closing(sqlite3.Connection(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_leaving_while_another_writes(log: SqliteEvents, still_open: Callable[[], int], tmp_path: Path) -> None:
    subscription = log.subscribe(TOPICS, "trainers")
    assert still_open() == 1
    with _another_writes(tmp_path / "events.db"):
        subscription.close()
    assert still_open() == 0


def test_joining_while_another_writes(log: SqliteEvents, still_open: Callable[[], int], tmp_path: Path) -> None:
    log.ping()
    with _another_writes(tmp_path / "events.db"), pytest.raises(UnavailableError):
        log.subscribe(TOPICS, "trainers")
    assert still_open() == 1  # the log's own


def test_a_file_that_is_no_log(log: SqliteEvents, still_open: Callable[[], int], tmp_path: Path) -> None:
    (tmp_path / "events.db").write_bytes(b"something else" * 100)
    with pytest.raises(UnavailableError):
        log.subscribe(TOPICS, "trainers")
    assert still_open() == 0


def test_those_who_open_a_new_log_at_once_all_get_it(tmp_path: Path) -> None:
    refused: list[Exception] = []

    def use(path: Path, together: threading.Barrier) -> None:
        events = SqliteEvents(path)
        together.wait()
        try:
            events.ping()
        except UnavailableError as error:
            refused.append(error)
        events.close()

    for number in range(40):  # without patience, about one opening in a hundred is refused
        together = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(use, tmp_path / f"{number}.db", together)
    assert refused == []
