"""Imports from an upload to a version: what comes in, what stays out, and what happens on the way."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import inspect, text

from aimic.domain.dataset import ImportRequest, LabelRule
from aimic.domain.site import OWNER
from aimic.errors import ConflictError, InvalidInputError
from services.ingest.imports.service import ImportService
from services.ingest.uploads.service import UploadService
from services.ingest.uploads.tables import UploadRow

Draw = Callable[..., bytes]


def cells(draw: Draw, count: int = 3) -> dict[str, bytes]:
    """`count` pictures in each of two folders."""
    return {
        f"{label}/{number}.png": draw(100 * place + number)
        for place, label in enumerate(("lymphocyte", "basophil"))
        for number in range(count)
    }


def test_folders_become_classes(lab: Any, draw: Draw) -> None:
    state = lab.import_(cells(draw))
    assert (state.status, state.error) == ("done", None)
    assert (state.seen, state.total, state.stored, state.known, state.refused) == (6, 6, 6, 0, 0)
    version = lab.version(state.version)
    assert version["classes"] == ["basophil", "lymphocyte"]
    assert version["counts"] == [3, 3]
    assert version["groups"] is None
    assert len(lab.objects()) == 6
    assert lab.get(f"imports/{state.id}")["phase"] == "done"


def test_the_upload_goes_when_the_import_is_done(lab: Any, draw: Draw) -> None:
    lab.import_(cells(draw))
    assert list(lab.parts.blobs.list("local/uploads/")) == []
    with lab.parts.database.read("local") as session:
        assert session.query(UploadRow).count() == 0


def test_what_is_refused_is_listed_and_the_rest_goes_in(lab: Any, draw: Draw) -> None:
    files = cells(draw) | {
        "basophil/notes.txt": b"not a picture",
        "basophil/broken.png": draw(7)[:-20],
        "loose.png": draw(8),
        "basophil/.hidden.png": draw(9),
        "__MACOSX/basophil/._0.png": b"resource",
        "basophil/Thumbs.db": b"thumbs",
        "../../escape/evil.png": draw(10),
    }
    state = lab.import_(files)
    assert state.status == "done"
    assert (state.stored, state.refused, state.ignored) == (6, 4, 3)
    refused = {item["name"].rpartition("/")[2]: item for item in lab.get(f"imports/{state.id}/refused")["items"]}
    assert set(refused) == {"notes.txt", "broken.png", "loose.png", "evil.png"}
    assert refused["loose.png"]["code"] == "no_label"
    assert all(item["reason"] for item in refused.values())
    assert len(lab.get("datasets/cells/versions/1/refused")["items"]) == 4
    assert lab.version()["refused"] == 4


def test_refused_files_come_page_by_page(lab: Any, draw: Draw) -> None:
    state = lab.import_(cells(draw) | {f"basophil/{n}.txt": b"%d" % n for n in range(5)})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = lab.get(f"imports/{state.id}/refused", limit=2, **cursor)
        seen += [item["name"] for item in page["items"]]
        cursor = {"cursor": page["next"]}
    assert page["next"] is None
    assert seen == [f"basophil/{n}.txt" for n in range(5)]


def test_the_same_import_twice_stores_nothing_and_makes_no_version(lab: Any, draw: Draw, sandbox: Any) -> None:
    files = cells(draw) | {"basophil/x.txt": b"text"}
    first = lab.import_(files)
    before, hash_before = lab.objects(), lab.version()["manifest_hash"]
    sandbox.examined = 0
    second = lab.import_(files)
    assert (second.version, second.stored, second.known, second.refused) == (first.version, 0, 6, 1)
    assert sandbox.examined == 1, "known bytes are not decoded again"
    assert lab.objects() == before
    assert lab.version()["manifest_hash"] == hash_before
    assert lab.version()["refused"] == 1


def test_more_images_make_the_next_version_and_the_first_stays(lab: Any, draw: Draw) -> None:
    lab.import_(cells(draw))
    state = lab.import_({"basophil/new.png": draw(50), "monocyte/0.png": draw(51)})
    assert state.version == 2
    assert lab.version(1)["counts"] == [3, 3]
    assert lab.version(2)["classes"] == ["basophil", "lymphocyte", "monocyte"]
    assert lab.version(2)["counts"] == [4, 3, 1]


def test_a_new_class_comes_behind_the_known_ones(lab: Any, draw: Draw) -> None:
    lab.import_({"class 10/a.png": draw(1), "class 2/b.png": draw(2)})
    lab.import_({"class 1/c.png": draw(3)})
    assert lab.version(2)["classes"] == ["class 2", "class 10", "class 1"]


def test_the_order_of_imports_does_not_change_the_manifest(lab: Any, draw: Draw) -> None:
    one, two = {"a/1.png": draw(1), "b/1.png": draw(2)}, {"a/2.png": draw(3), "b/2.png": draw(4)}
    lab.import_(one, "first")
    lab.import_(two, "first")
    lab.import_(two, "second")
    lab.import_(one, "second")
    assert lab.version(2, "first")["manifest_hash"] == lab.version(2, "second")["manifest_hash"]


def test_two_files_with_the_same_bytes_are_one_sample(lab: Any, draw: Draw) -> None:
    state = lab.import_(cells(draw) | {"basophil/112.png": draw(60), "basophil/139.png": draw(60)})
    assert (state.stored, state.known) == (7, 1)
    assert lab.version()["counts"] == [4, 3]
    assert "112.png = 139.png" in lab.findings()["exact_duplicates"]


def test_the_same_pixels_in_another_file_type_are_exact_duplicates(lab: Any, draw: Draw) -> None:
    lab.import_(cells(draw) | {"basophil/one.png": draw(60), "basophil/two.bmp": draw(60, "BMP")})
    assert "one.png" in lab.findings()["exact_duplicates"]
    assert "two.bmp" in lab.findings()["exact_duplicates"]


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_one_picture_under_two_labels_is_set_aside_until_a_person_decides(lab: Any, draw: Draw, kind: str) -> None:
    ending = kind.lower()
    files = cells(draw) | {"basophil/112.png": draw(60), f"lymphocyte/139.{ending}": draw(60, kind)}
    state = lab.import_(files)
    assert state.version == 1
    assert lab.version()["counts"] == [3, 3]
    words = lab.findings()["exact_duplicates_across_classes"]
    assert "112.png" in words
    assert f"139.{ending}" in words
    rows = f"file,label\nbasophil/112.png,basophil\nlymphocyte/139.{ending},basophil\n"
    decided = lab.import_(
        {name: data for name, data in files.items() if "1" in name and "/1." not in name}, labels_csv=rows
    )
    assert decided.version == 2
    assert "exact_duplicates_across_classes" not in lab.findings(2)
    assert lab.version(2)["counts"] == [4 if kind == "PNG" else 5, 3]


def test_nothing_that_fits_is_a_failure_in_words_and_the_upload_is_kept(lab: Any, draw: Draw) -> None:
    state = lab.finish(lab.start_uploads([lab.upload(b"not an archive", "cells.bin")]))
    assert state.status == "failed"
    assert "None of the 1 files" in state.error
    state = lab.finish(lab.start_uploads([lab.upload(draw(1), "a.png")]))
    assert state.status == "failed"
    assert "folder" in state.error
    assert lab.get("datasets/cells")["latest"] is None


def test_a_failed_import_can_be_repeated_with_other_settings(lab: Any, draw: Draw, pack: Callable[..., bytes]) -> None:
    upload = lab.upload(pack({"Im001_1.tif": draw(1, "TIFF"), "Im002_0.tif": draw(2, "TIFF")}))
    assert lab.finish(lab.start_uploads([upload])).status == "failed"
    state = lab.finish(lab.start_uploads([upload], label_pattern=r"_(?P<label>[01])\.tif$"))
    assert state.status == "done"
    assert lab.version()["classes"] == ["0", "1"]


def test_a_foreign_archive_fails_in_words(lab: Any) -> None:
    state = lab.finish(lab.start_uploads([lab.upload(b"7z\xbc\xaf\x27\x1c" + b"0" * 100, "cells.7z")]))
    assert state.status == "failed"
    assert "7z" in state.error


@pytest.mark.parametrize("name", ["", "../x", "a b", "ä", "-x", "x" * 41])
def test_a_name_that_can_name_nothing_is_refused(lab: Any, draw: Draw, name: str) -> None:
    with pytest.raises(InvalidInputError, match="can't name a data set"):
        lab.start(cells(draw), name)


def test_a_rule_that_cannot_be_followed_is_refused_before_anything_starts(lab: Any, draw: Draw) -> None:
    with pytest.raises(InvalidInputError):
        lab.start(cells(draw), label_pattern="([a-z]+)*(?P<label>x)")


def test_an_unfinished_upload_is_refused(lab: Any) -> None:
    live, _ = UploadService(lab.parts).create(OWNER, 10, "cells.zip", None)
    with pytest.raises(InvalidInputError, match="0 of 10 bytes"):
        lab.start_uploads([live.upload.id])


def test_asking_again_while_it_waits_shows_the_same_import(lab: Any, draw: Draw, pack: Callable[..., bytes]) -> None:
    upload = lab.upload(pack(cells(draw)))
    first = lab.start_uploads([upload])
    assert lab.start_uploads([upload]).id == first.id
    with pytest.raises(ConflictError, match="still reading"):
        lab.start_uploads([upload], "other")


def test_an_idempotency_key_gives_the_first_answer(lab: Any, draw: Draw, pack: Callable[..., bytes]) -> None:
    body = {"dataset": "cells", "uploads": [lab.upload(pack(cells(draw)))]}
    key = {"idempotency-key": "k1"}
    first = lab.client.post("/api/v1/imports", json=body, headers=key)
    assert first.status_code == 202
    assert lab.worker.run_one()
    again = lab.client.post("/api/v1/imports", json=body, headers=key)
    assert again.json()["id"] == first.json()["id"]
    other = lab.client.post("/api/v1/imports", json=body | {"dataset": "b"}, headers=key)
    assert other.status_code == 409


def test_events_tell_the_end(lab: Any, draw: Draw) -> None:
    state = lab.import_(cells(draw))
    with lab.client.stream("GET", f"/api/v1/imports/{state.id}/events") as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[0] == "event: import"
    assert '"status":"done"' in lines[1]


def test_there_is_no_such_import(lab: Any) -> None:
    for path in ("", "/refused", "/events"):
        assert lab.client.get(f"/api/v1/imports/none{path}").status_code == 404


def test_real_names_are_in_the_guarded_table_only(lab: Any, draw: Draw) -> None:
    secret = "Mustermann"
    files = {f"a/{secret}_1.png": draw(1), f"b/{secret}_2.png": draw(1, "BMP"), f"a/{secret}_3.txt": b"x"}
    files |= {f"a/{secret}_4.png": draw(4), f"b/{secret}_5.png": draw(5)}
    lab.import_(files, group_pattern=r"(Mustermann)_")
    assert secret in str(lab.findings())
    with lab.parts.database.read("local") as session:
        tables = inspect(session.get_bind()).get_table_names()
        holding = {
            table
            for table in tables
            for row in session.execute(text(f'SELECT * FROM "{table}"'))
            if secret in repr(tuple(row))
        }
    assert holding == {"guarded_names"}
    for blob in lab.parts.blobs.list(""):
        assert secret.encode() not in lab.parts.blobs.get(blob.key)


def test_a_request_with_too_many_or_the_same_uploads_is_refused(lab: Any) -> None:
    for uploads in ((), ("a", "a")):
        with pytest.raises(InvalidInputError, match="each once"), lab.parts.database.begin("local") as session:
            ImportService(lab.parts).start(
                session, OWNER, ImportRequest(dataset="x", uploads=uploads, labels=LabelRule())
            )
