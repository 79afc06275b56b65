"""Images that an import stored and never recorded go in the end, and none that anything names goes with them."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from aimic.errors import InvalidInputError
from services.ingest.datasets.reading import sample_key
from services.ingest.datasets.tables import ObjectRow
from services.ingest.imports import bringing
from services.ingest.imports.bringing import Batches
from services.ingest.imports.service import ImportService
from services.ingest.imports.tables import ImportRow
from services.ingest.tasks.sweeper import Sweeper
from services.ingest.tasks.tables import DyingObjectRow

Draw = Callable[..., bytes]


@pytest.fixture
def files(draw: Draw) -> dict[str, bytes]:
    return {f"{label}/{number}.png": draw(10 * place + number) for place, label in enumerate("ab") for number in (1, 2)}


@pytest.fixture
def failed(lab: Any, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of these files ended for good after it had stored them."""

    def refuse(*_: Any) -> None:
        raise InvalidInputError("The rest can't be read.")

    with monkeypatch.context() as patch:
        patch.setattr(bringing, "commit_batch", refuse)
        assert lab.import_(files).status == "failed"
    assert len(lab.objects()) == 4


def _a_day_later(lab: Any) -> None:
    with lab.parts.database.begin("local") as session:
        for row in session.query(DyingObjectRow):
            row.due_at -= timedelta(days=1)


def _named(lab: Any) -> list[str]:
    with lab.parts.database.read("local") as session:
        rows = session.query(ObjectRow).where(ObjectRow.dying_at.is_(None))
        assert all(row.size > 0 for row in rows)
        return sorted(sample_key("local", row.sha256, row.generation) for row in rows)


@pytest.mark.usefixtures("failed")
def test_what_nobody_recorded_goes_after_a_day_and_may_come_back(lab: Any, files: dict[str, bytes]) -> None:
    sweeper = Sweeper(lab.parts)
    sweeper.run_one()
    assert len(lab.objects()) == 4, "the import may be started again"
    for _ in range(2):
        _a_day_later(lab)
        sweeper.run_one()
        assert lab.objects() == []
    assert lab.import_(files).status == "done"
    assert lab.objects() == _named(lab) and len(lab.objects()) == 4


@pytest.mark.usefixtures("failed")
def test_what_another_import_recorded_since_stays(lab: Any, files: dict[str, bytes]) -> None:
    assert lab.import_(dict(list(files.items())[1:]), "other").status == "done"
    _a_day_later(lab)
    Sweeper(lab.parts).run_one()
    assert lab.objects() == _named(lab) and len(lab.objects()) == 3
    with lab.parts.database.read("local") as session:
        assert session.query(DyingObjectRow).count() == 0


@pytest.mark.usefixtures("failed")
def test_an_import_that_stored_them_just_before_they_go_stores_them_again(
    lab: Any, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    started, real = lab.start(files, "other"), Batches._write
    _a_day_later(lab)

    def write(batches: Batches) -> None:
        Sweeper(lab.parts).run_one()
        real(batches)

    monkeypatch.setattr(Batches, "_write", write)
    assert lab.worker.run_one()
    assert ImportService(lab.parts).show("local", started.id).phase == "waiting"
    with lab.parts.database.begin("local") as session:
        session.get_one(ImportRow, ("local", started.id)).not_before = None
    assert lab.finish(started).status == "done"
    assert lab.objects() == _named(lab) and len(lab.objects()) == 4
