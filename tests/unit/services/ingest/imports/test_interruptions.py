"""Imports that are killed, starved, overtaken or stopped: nothing committed is lost, nothing comes in twice."""

import tempfile
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from aimic.errors import ConflictError, UnavailableError
from services.ingest.datasets import describing, versions
from services.ingest.datasets.tables import ObjectRow, VersionRow
from services.ingest.imports import batches, bringing, lease, worker
from services.ingest.imports.lease import Held
from services.ingest.imports.service import ImportService
from services.ingest.imports.tables import ImportRow

Draw = Callable[..., bytes]


def cells(draw: Draw, count: int = 3) -> dict[str, bytes]:
    """`count` pictures in each of two folders."""
    return {
        f"{label}/{number}.png": draw(100 * place + number)
        for place, label in enumerate(("lymphocyte", "basophil"))
        for number in range(count)
    }


class Killed(BaseException):
    """As `kill -9` does, it lets nobody clean up after what was committed."""


def _batches_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bringing, "BATCH", 2)
    monkeypatch.setattr(bringing, "BATCH_S", 60.0)  # however slow this machine is


def _kill_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    real, left = batches.commit_batch, count

    def commit(*arguments: Any) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        real(*arguments)

    monkeypatch.setattr(bringing, "commit_batch", commit)


def _end_leases(lab: Any) -> None:
    with lab.parts.database.begin("local") as session:
        for row in session.query(ImportRow):
            if row.lease_until:
                row.lease_until -= timedelta(hours=1)


def test_a_killed_import_goes_on_from_its_last_batch(
    lab: Any, make_lab: Callable[[], Any], draw: Draw, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _batches_of_two(monkeypatch)
    files = cells(draw, 5) | {"basophil/a.txt": b"1", "basophil/b.txt": b"2"}
    started = lab.start(files)
    with monkeypatch.context() as patch:
        _kill_after(patch, 3)
        with pytest.raises(Killed):
            lab.worker.run_one()
    other = make_lab()
    assert not other.worker.run_one(), "the killed worker's lease still runs"
    _end_leases(other)
    sandbox.examined = 0
    state = other.finish(started)
    assert (state.status, state.seen, state.stored, state.refused) == ("done", 12, 10, 2)
    assert sandbox.examined <= 6
    assert other.version()["counts"] == [5, 5]
    assert len(other.get(f"imports/{state.id}/refused")["items"]) == 2
    with other.parts.database.read("local") as session:
        assert {row.refs for row in session.query(ObjectRow)} == {1}


def _wait_over(lab: Any) -> None:
    with lab.parts.database.begin("local") as session:
        for row in session.query(ImportRow):
            if row.not_before:
                row.not_before -= timedelta(hours=1)


def test_a_full_disk_makes_the_import_wait_and_say_so_and_go_on(
    lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = lab.start(cells(draw))

    def full(*_: Any) -> None:
        raise UnavailableError("The disk is full.", retry_after_s=1)

    with monkeypatch.context() as patch:
        patch.setattr(lab.parts.blobs, "put", full)
        for _ in range(5):
            assert lab.worker.run_one()
            assert not lab.worker.run_one(), "it is not tried again at once"
            state = ImportService(lab.parts).show("local", started.id)
            assert (state.status, state.phase) == ("ready", "waiting")
            assert str(state.error).startswith("The disk is full. What came in is kept")
            _wait_over(lab)
    state = lab.finish(started)
    assert (state.status, state.error) == ("done", None)


def test_a_full_temporary_disk_makes_the_import_wait_too(lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    started = lab.start(cells(draw))
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "r+b"))
        for _ in range(4):
            assert lab.worker.run_one()
            state = ImportService(lab.parts).show("local", started.id)
            assert (state.status, state.phase) == ("ready", "waiting") and "make room" in str(state.error)
            _wait_over(lab)
    assert lab.finish(started).status == "done"


def test_an_import_that_waits_lets_the_next_one_go_first(lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.start(cells(draw))

    def full(*_: Any) -> None:
        raise UnavailableError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(lab.parts.blobs, "put", full)
        assert lab.worker.run_one()
    assert lab.import_({"a/1.png": draw(1), "b/1.png": draw(2)}, "other").status == "done"


def test_a_conflict_that_stays_ends_the_import(lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    started = lab.start(cells(draw))

    def conflict(*_: Any) -> None:
        raise ConflictError("It is there already.")

    monkeypatch.setattr(worker, "make_version", conflict)
    for _ in range(4):
        lab.worker.run_one()
        _wait_over(lab)
    state = ImportService(lab.parts).show("local", started.id)
    assert state.status == "failed" and str(state.error).startswith("It is there already. It was tried three times")


def test_a_worker_that_lost_its_lease_writes_nothing_more(
    lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    _batches_of_two(monkeypatch)
    started = lab.start(cells(draw))
    real = batches.commit_batch

    def commit(session: Any, row: Any, *rest: Any) -> None:
        real(session, row, *rest)
        row.fence += 1

    with monkeypatch.context() as patch:
        patch.setattr(bringing, "commit_batch", commit)
        assert lab.worker.run_one()
    state = ImportService(lab.parts).show("local", started.id)
    assert (state.status, state.seen) == ("running", 2)


def test_a_worker_that_lost_its_lease_makes_no_version(lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    started = lab.start(cells(draw))
    real = describing.describe

    def describe(*arguments: Any) -> Any:
        with lab.parts.database.begin("local") as session:
            session.get_one(ImportRow, ("local", started.id)).fence += 1
        return real(*arguments)

    monkeypatch.setattr(versions, "describe", describe)
    assert lab.worker.run_one()
    with lab.parts.database.read("local") as session:
        assert session.query(VersionRow).count() == 0


def test_an_error_in_renewing_the_lease_does_not_end_the_renewing(
    lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.start(cells(draw))
    row = lab.worker._claim()
    errors, renewed = [RuntimeError("unforeseen")], threading.Event()

    def extend(*_: Any) -> None:
        if errors:
            raise errors.pop()
        renewed.set()

    monkeypatch.setattr(lease, "extend", extend)
    held = Held(lab.parts, row.site, row.id, row.fence)
    held._lease_s = 0.03
    with held:
        assert renewed.wait(5)


def test_a_process_that_stops_hands_the_import_back(lab: Any, make_lab: Callable[[], Any], draw: Draw) -> None:
    started = lab.start(cells(draw))
    lab.parts.workers.stopping.set()
    assert lab.worker.run_one()
    assert ImportService(lab.parts).show("local", started.id).status == "ready"
    assert make_lab().finish(started).status == "done"


def test_an_error_that_stays_ends_the_import_after_three_tries(
    lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = lab.start(cells(draw))

    def broken(*_: Any) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(bringing, "commit_batch", broken)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            lab.worker.run_one()
    state = ImportService(lab.parts).show("local", started.id)
    assert state.status == "failed"
    assert "three times" in str(state.error)
    assert not lab.worker.run_one()


def test_bytes_that_were_deleted_come_back_as_a_new_generation(lab: Any, draw: Draw) -> None:
    lab.import_({"a/1.png": draw(1), "b/1.png": draw(2)})
    with lab.parts.database.begin("local") as session:
        for row in session.query(ObjectRow):
            row.dying_at = lab.parts.database.now(session)
    lab.import_({"a/1.png": draw(1)}, "again")
    with lab.parts.database.read("local") as session:
        assert sorted((row.generation, row.dying_at is None) for row in session.query(ObjectRow)) == [
            (0, False),
            (1, True),
        ]
    assert len(lab.objects()) == 3
