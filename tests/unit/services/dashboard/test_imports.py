"""What is said of an import, and how chosen files travel."""

import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest

from aimic.client import Wait
from aimic.domain.dataset import Import, ImportStatus
from aimic.errors import FullError
from services.dashboard.views import imports as view
from services.dashboard.views.packing import pack


def _import(**more: Any) -> Import:
    fields: dict[str, Any] = {
        "id": "i",
        "dataset": "blood",
        "status": ImportStatus.RUNNING,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Import(**fields | more)


@pytest.mark.parametrize(
    ("names", "labels", "asked"),
    [
        (["a.zip"], False, False),
        (["cells/neutrophil/a.jpg", "cells/basophil/b.jpg"], False, False),
        (["a.jpg", "b.jpg"], False, True),
        (["a.jpg"], True, False),
        (["a.zip", "b.jpg"], False, True),
        ([], False, False),
    ],
)
def test_the_class_is_asked_for_only_where_nothing_says_it(names: list[str], labels: bool, asked: bool) -> None:
    assert view.needs_class(view.chosen(names), labels) is asked


def test_while_storage_is_away_the_bar_says_what_is_safe_and_when_it_goes_on() -> None:
    wait = Wait(FullError("The object store is full."), 10.2, 0.4)
    assert view.waiting(wait) == view.Line(0.4, "The object store is full. Trying again in 10 s; 40% is safe.")


def test_archives_and_loose_files_are_told_apart() -> None:
    assert view.chosen(["a.ZIP", "b.jpg", "c.tar.gz"]) == view.Chosen((0, 2), (1,), False)


def test_the_estimate_comes_from_the_pace_so_far() -> None:
    line = view.checking(_import(seen=250, total=1000), seconds=60)
    assert line == view.Line(0.25, "Checked 250 of 1,000 files, about 3 minutes left")
    assert view.checking(_import(seen=3, total=1000), seconds=60).text == "Checked 3 of 1,000 files"
    assert view.checking(_import(), seconds=1) == view.Line(0.0, "Looking through the files …")
    assert view.checking(_import(seen=0, total=0), seconds=1).fraction == 1.0
    waits = _import(seen=250, total=1000, phase="waiting", error="The disk is full.")
    assert view.checking(waits, seconds=60) == view.Line(0.25, "Waiting: The disk is full.")


def test_tables_of_any_spreadsheet_are_read() -> None:
    for encoding in ("utf-8", "utf-8-sig", "cp1252"):
        assert view.table_text("Blutzelle,Größe".encode(encoding)) == "Blutzelle,Größe"


def test_sending() -> None:
    assert view.sending(5_000_000, 10_000_000) == view.Line(0.5, "Sending 5 MB of 10 MB")


def test_outcomes() -> None:
    done = _import(status=ImportStatus.DONE, stored=1, known=20, refused=2)
    assert view.outcome(done) == "1 new image stored, 20 there already and 2 refused."
    assert view.outcome(_import(status=ImportStatus.FAILED, error="No labels.")) == "No labels."
    assert "is kept" in view.outcome(_import(status=ImportStatus.FAILED))


def test_many_files_travel_as_one_and_the_same_files_as_the_same_bytes() -> None:
    files = [("a/x.png", b"1"), ("a/x.png", b"2"), ("/b/y", b"3")]
    with pack(files) as stream, pack(files) as again:
        assert stream.read() == again.read()
        stream.seek(0)
        archive = zipfile.ZipFile(stream)
        assert {n: archive.read(n) for n in archive.namelist()} == {"a/x.png": b"1", "a/x (2).png": b"2", "b/y": b"3"}
