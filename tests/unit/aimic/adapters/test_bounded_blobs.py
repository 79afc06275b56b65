"""A store that hangs holds a bounded number of threads; everybody else is sent away at once."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aimic.adapters.bounded_blobs import BoundedBlobs
from aimic.adapters.bounds import Fuse, Slots
from aimic.adapters.local_blobs import LocalBlobs
from aimic.errors import FullError, NotFoundError, UnavailableError

KEY = "local/a"


class Hanging(LocalBlobs):
    """Answers only once it is let."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.let = threading.Event()
        self.inside = threading.Semaphore(0)

    def exists(self, key: str) -> bool:
        """Hang first."""
        self.inside.release()
        assert self.let.wait(40)
        return super().exists(key)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Hanging]:
    made = Hanging(tmp_path / "objects")
    yield made
    made.let.set()


def _asked(blobs: BoundedBlobs, count: int) -> tuple[list[threading.Thread], list[object]]:
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(blobs.exists(KEY))
        except UnavailableError as error:
            answers.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_more_than_the_bound_are_sent_away_and_the_rest_are_answered(store: Hanging) -> None:
    slots = Slots(at_once=2, waiting=1, patience_s=30)
    blobs = BoundedBlobs(store, slots)
    threads, answers = _asked(blobs, 2)
    for _ in threads:
        assert store.inside.acquire(timeout=5)
    third, _ = _asked(blobs, 1)
    while slots.room():
        time.sleep(0.005)
    started = time.monotonic()
    with pytest.raises(UnavailableError, match="too slowly") as refused:
        blobs.exists(KEY)
    assert time.monotonic() - started < 15
    assert refused.value.retry_after_s
    store.let.set()
    for thread in threads + third:
        thread.join(5)
    assert answers == [False, False]
    assert slots.room() == 3
    assert blobs.put(KEY, b"x").size == 1


def test_who_waits_is_sent_away_when_no_slot_gets_free(store: Hanging) -> None:
    blobs = BoundedBlobs(store, Slots(at_once=1, waiting=1, patience_s=0.05))
    threads, _ = _asked(blobs, 1)
    assert store.inside.acquire(timeout=5)
    with pytest.raises(UnavailableError, match="nothing of this request was done"):
        blobs.get(KEY)
    store.let.set()
    threads[0].join(5)
    assert blobs.exists(KEY) is False


def test_a_slow_reader_holds_no_slot_between_two_pieces(tmp_path: Path) -> None:
    blobs = BoundedBlobs(LocalBlobs(tmp_path), Slots(1, 0, 1.0), Slots(1, 0, 1.0))
    blobs.put(KEY, b"x" * (3 << 20))
    first, second = blobs.read(KEY), blobs.read(KEY)
    assert len(next(first)) == len(next(second)) == len(next(first)) == 1 << 20
    assert sum(map(len, [*first, *second])) == 3 << 20


def test_after_failures_in_a_row_one_tries_for_all() -> None:
    now = [100.0]
    fuse = Fuse(most=2, pause_s=2.0, clock=lambda: now[0])
    tried = 0

    def use(error: Exception | None) -> None:
        nonlocal tried
        with fuse.guarding():
            tried += 1
            if error is not None:
                raise error

    away = UnavailableError("The store is away.", retry_after_s=7)
    for error in (away, NotFoundError("It isn't there."), away, FullError("It is full."), away, away):
        with pytest.raises(type(error)):
            use(error)
    assert tried == 6  # only the last two were in a row
    with pytest.raises(UnavailableError, match=r"The store is away\."):
        use(None)
    now[0] += 2.1
    with pytest.raises(UnavailableError):
        use(away)
    with pytest.raises(UnavailableError):
        use(None)
    assert tried == 7
    now[0] += 2.1
    use(None)
    use(None)
    assert tried == 9
