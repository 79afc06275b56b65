"""However much comes in, only so much of it is in work at once; and the records may be away too."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from aimic.errors import UnavailableError
from services.ingest.imports import bringing, worker
from services.ingest.imports.examine import Examiner
from services.ingest.imports.service import ImportService
from services.ingest.imports.tables import ImportRow

Draw = Callable[..., bytes]


def _cells(draw: Draw, count: int) -> dict[str, bytes]:
    return {f"{'ab'[number % 2]}/{number}.png": draw(number) for number in range(count)}


class Watched:
    """Counts what is in work between two points of the way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lock, self._bytes = threading.Lock(), 0
        self.most_bytes = self.most_stored_at_once = 0
        settle = Examiner.settle

        def counted(examiner: Any, candidate: Any) -> None:
            with self._lock:
                self._bytes += candidate.size
                self.most_bytes = max(self.most_bytes, self._bytes)
            settle(examiner, candidate)
            with self._lock:
                self._bytes -= candidate.size

        monkeypatch.setattr(Examiner, "settle", counted)

    def slow_store(self, lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A store that takes its time until three wait for it, and counts them."""
        put, now, together = lab.parts.blobs.put, 0, threading.Event()

        def slow(key: str, data: bytes) -> Any:
            nonlocal now
            with self._lock:
                now += 1
                self.most_stored_at_once = max(self.most_stored_at_once, now)
            if now > 2 or not together.wait(20):  # who comes first waits for others, or finds that there are none
                together.set()
            with self._lock:
                now -= 1
            return put(key, data)

        monkeypatch.setattr(lab.parts.blobs, "put", slow)


def test_so_many_bytes_are_in_work_at_once(lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _cells(draw, 12)
    largest = max(map(len, files.values()))
    monkeypatch.setattr(bringing, "AHEAD_BYTES", 2 * largest)
    watched = Watched(monkeypatch)
    assert lab.import_(files).stored == 12
    assert watched.most_bytes <= 3 * largest


def test_storing_overlaps(lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    started, watched = lab.start(_cells(draw, 16)), Watched(monkeypatch)
    watched.slow_store(lab, monkeypatch)
    assert lab.finish(started).stored == 16
    assert watched.most_stored_at_once > 2


def test_records_that_go_away_too_are_waited_for(lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    started = lab.start(_cells(draw, 4))
    begin, away = lab.parts.database.begin, 0

    def full(*_: Any) -> None:
        nonlocal away
        away = 3
        raise UnavailableError("The store is away.")

    def broken(site: str) -> Any:
        nonlocal away
        if away and threading.current_thread() is threading.main_thread():
            away -= 1
            raise UnavailableError("The records are away.")
        return begin(site)

    monkeypatch.setattr(worker, "AGAIN_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(lab.parts.blobs, "put", full)
        patch.setattr(lab.parts.database, "begin", broken)
        assert lab.worker.run_one()
    state = ImportService(lab.parts).show("local", started.id)
    assert (state.status, state.phase) == ("ready", "waiting") and str(state.error).startswith("The store is away.")
    with lab.parts.database.begin("local") as session:
        for row in session.query(ImportRow):
            row.not_before = None
    assert lab.finish(started).status == "done"
