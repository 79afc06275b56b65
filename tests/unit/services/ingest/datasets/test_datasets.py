"""Data sets seen through their routes, and a version as training reads it."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aimic.domain.dataset import Finding
from aimic.errors import CorruptError, InvalidInputError, NotFoundError
from services.ingest.audit.tables import AuditRow
from services.ingest.datasets import contents, reading
from services.ingest.datasets.contents import ordered_classes
from services.ingest.datasets.describing import with_names
from services.ingest.datasets.reading import load_manifest, load_version, manifest_key

Draw = Callable[..., bytes]


@pytest.fixture
def cells(lab: Any, draw: Draw) -> Any:
    """A laboratory with five pictures of two classes, patients and folds."""
    files = {f"cells/{name}": draw(n) for n, name in enumerate(("a.png", "b.png", "c.png", "d.png"))}
    files["cells/e.bmp"] = draw(9, "BMP", (40, 30))
    rows = "file,label,patient,fold,comment\n" + "".join(
        f"{name},{'x' if n < 3 else 'y'},p{n % 2},{n % 3},free text {n}\n" for n, name in enumerate(files)
    )
    lab.import_(files, labels_csv=rows)
    return lab


def _load(lab: Any, name: str = "cells", version: int | None = None) -> Any:
    with lab.parts.database.read("local") as session:
        return load_version(session, lab.parts.blobs, "local", name, version)


def test_data_sets_are_listed_by_name(cells: Any, draw: Draw) -> None:
    cells.import_({"a/1.png": draw(1)}, "another")
    listed = cells.get("datasets")["items"]
    assert [item["name"] for item in listed] == ["another", "cells"]
    assert listed[1]["latest"]["counts"] == [3, 2]
    first = cells.get("datasets", limit=1)
    assert [item["name"] for item in cells.get("datasets", limit=1, cursor=first["next"])["items"]] == ["cells"]


def test_samples_are_listed_with_the_owners_names(cells: Any) -> None:
    samples = cells.samples()
    assert {sample["name"] for sample in samples} == {
        f"cells/{n}" for n in ("a.png", "b.png", "c.png", "d.png", "e.bmp")
    }
    assert [sample["sha256"] for sample in samples] == sorted(sample["sha256"] for sample in samples)
    large = next(sample for sample in samples if sample["name"] == "cells/e.bmp")
    assert (large["width"], large["height"], large["label"]) == (40, 30, "y")


def test_samples_of_one_class_come_page_by_page(cells: Any) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = cells.get("datasets/cells/versions/1/samples", label="x", limit=2, **cursor)
        seen += [item["name"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert sorted(seen) == ["cells/a.png", "cells/b.png", "cells/c.png"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("datasets/none", 404),
        ("datasets/none/versions/1", 404),
        ("datasets/cells/versions/2", 404),
        ("datasets/cells/versions/0", 422),
        ("datasets/cells/versions/1/samples?label=z", 422),
        ("datasets/cells/versions/1/samples?cursor=nonsense", 422),
        ("datasets/cells/versions/2/export", 404),
        (f"datasets/cells/samples/{'0' * 64}/image", 404),
        (f"datasets/cells/samples/{'0' * 64}/image?size=48", 404),
        ("datasets/cells/samples/..%2F..%2Frecords.db/image", 404),
        ("datasets/cells/samples/xyz/image", 422),
    ],
)
def test_what_is_not_there_is_a_problem(cells: Any, path: str, status: int) -> None:
    answer = cells.client.get(f"/api/v1/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_thumbnail_fits_and_looks_like_the_picture(cells: Any, draw: Draw) -> None:
    sample = next(sample for sample in cells.samples() if sample["name"] == "cells/e.bmp")
    path = f"/api/v1/datasets/cells/samples/{sample['sha256']}/image"
    small = cells.client.get(path, params={"size": 20})
    assert small.headers["content-type"] == "image/png"
    assert small.headers["cache-control"].startswith("private")
    image = Image.open(io.BytesIO(small.content))
    assert image.size == (20, 15)
    true = Image.open(io.BytesIO(draw(9, "BMP", (40, 30)))).resize((20, 15), Image.Resampling.BOX)
    assert np.abs(np.asarray(image, float) - np.asarray(true, float)).mean() < 2


@pytest.mark.parametrize("size", [0, 15, 1025, 10**9])
def test_a_thumbnail_of_a_silly_size_is_refused(cells: Any, size: int) -> None:
    sha = cells.samples()[0]["sha256"]
    assert cells.client.get(f"/api/v1/datasets/cells/samples/{sha}/image", params={"size": size}).status_code == 422


def test_the_stored_bytes_are_those_of_the_samples_name(cells: Any) -> None:
    sample = cells.samples()[0]
    answer = cells.client.get(f"/api/v1/datasets/cells/samples/{sample['sha256']}/image")
    assert len(answer.content) == sample["size"] == int(answer.headers["content-length"])
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert hashlib.sha256(answer.content).hexdigest() == sample["sha256"]
    with cells.parts.database.read("local") as session:
        assert [row.subject for row in session.query(AuditRow) if row.action == "image.read"] == [sample["sha256"]]


def test_an_image_of_another_data_set_is_not_there(cells: Any, draw: Draw) -> None:
    cells.import_({"a/1.png": draw(77)}, "another")
    sha = cells.samples(dataset="another")[0]["sha256"]
    assert cells.client.get(f"/api/v1/datasets/cells/samples/{sha}/image").status_code == 404


def _exported(lab: Any, version: int = 1, dataset: str = "cells") -> dict[str, bytes]:
    answer = lab.client.get(f"/api/v1/datasets/{dataset}/versions/{version}/export")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_export_holds_the_stored_files_and_a_table(cells: Any) -> None:
    files = _exported(cells)
    assert set(files) == {"x/a.png", "x/b.png", "x/c.png", "y/d.png", "y/e.bmp", "labels.csv"}
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(files["labels.csv"].decode()))}
    assert {name: row["label"] for name, row in rows.items()} == {n: n[0] for n in files if n != "labels.csv"}
    assert {row["group"] for row in rows.values()} == {"0", "1"}
    assert rows["x/a.png"]["group"] == rows["x/c.png"]["group"] != rows["x/b.png"]["group"]
    assert rows["x/b.png"]["fold"] == "1"
    assert "p0" not in files["labels.csv"].decode()


def test_an_export_imports_as_the_same_images(cells: Any) -> None:
    files = _exported(cells)
    table = files.pop("labels.csv").decode()
    state = cells.import_(files, "again", labels_csv=table)
    assert (state.status, state.stored, state.known) == ("done", 0, 5)
    before, after = _load(cells).manifest, _load(cells, "again").manifest
    assert [(s.sha256, s.label) for s in before.samples] == [(s.sha256, s.label) for s in after.samples]


def test_names_that_clash_or_lead_elsewhere_are_harmless_in_an_export(lab: Any, draw: Draw) -> None:
    table = "file,label\none/a.png,../up\ntwo/A.png,../up\nb.png,..\nc.png,.. /up\n"
    files = {"one/a.png": draw(1), "two/A.png": draw(2), "b.png": draw(3), "c.png": draw(4)}
    lab.import_(files, labels_csv=table)
    names = [name for name in _exported(lab) if name != "labels.csv"]
    assert len({name.casefold() for name in names}) == 4
    for name in names:
        folder, _, file = name.partition("/")
        assert folder.strip(". ")
        assert "/" not in file
        assert ".." not in name.split("/")


def test_a_version_has_all_that_training_needs(cells: Any, draw: Draw) -> None:
    data = _load(cells)
    assert data.manifest.hash == data.manifest_hash == cells.version()["manifest_hash"]
    n = len(data.manifest.samples)
    assert n == len(data.clusters) == len(data.phashes) == len(data.object_keys) == len(data.facts) == len(data.pixels)
    assert all(cells.parts.blobs.exists(key) for key in data.object_keys)
    names = {sample["sha256"]: sample["name"] for sample in cells.samples()}
    order = [names[sample.sha256] for sample in data.manifest.samples]
    assert [data.column("fold")[order.index(f"cells/{x}")] for x in ("a.png", "b.png", "c.png")] == ["0", "1", "2"]
    with pytest.raises(InvalidInputError, match="no column 'side'"):
        data.column("side")
    assert data.facts[order.index("cells/e.bmp")].media_type == "image/bmp"


def test_groups_are_dense_in_order_of_first_appearance(cells: Any) -> None:
    groups = [sample.group for sample in _load(cells).manifest.samples]
    assert list(dict.fromkeys(groups)) == [0, 1]


def test_a_patient_has_one_key_in_all_data_sets_and_it_is_not_the_name(cells: Any, draw: Draw) -> None:
    cells.import_({"a/1_p0.png": draw(31), "b/2_p7.png": draw(32)}, "other", group_pattern=r"_(p\d)\.")
    here, there = set(_load(cells).group_keys), set(_load(cells, "other").group_keys)
    assert len(here) == len(there) == 2
    assert len(here & there) == 1
    assert not any("p0" in key and len(key) < 64 for key in here)


def test_a_column_with_many_values_stays_guarded(lab: Any, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_FOLD_VALUES", 2)
    table = "file,label,accession,half\n" + "".join(f"{n}.png,{'xy'[n % 2]},S-{n},{n % 2}\n" for n in range(4))
    lab.import_({f"{n}.png": draw(n) for n in range(4)}, labels_csv=table)
    assert set(_load(lab).analysis.columns) == {"half"}


def test_a_changed_manifest_or_analysis_is_not_used(cells: Any) -> None:
    data = _load(cells)
    blobs = cells.parts.blobs
    key = manifest_key("local", data.manifest_hash)
    blobs.put(key, blobs.get(key).replace(b'"label":0', b'"label":1', 1))
    other = type(blobs)(blobs._root)
    with pytest.raises(CorruptError):
        load_manifest(other, "local", data.manifest_hash)
    for blob in list(blobs.list("local/analyses/")):
        blobs.put(blob.key, blobs.get(blob.key)[:-1])
        with pytest.raises(CorruptError):
            reading.load_analysis(other, blob.key)


def test_a_version_that_is_not_there_is_said_in_words(cells: Any) -> None:
    with pytest.raises(NotFoundError, match="no version 7"):
        _load(cells, "cells", 7)
    with pytest.raises(NotFoundError, match="no data set 'none'"):
        _load(cells, "none")


def test_a_removed_name_leaves_its_mark(cells: Any) -> None:
    finding = Finding(code="x", message="see file:0123456789abcdef", details={"examples": ["file:0123456789abcdef"]})
    with cells.parts.database.read("local") as session:
        assert with_names(session, "local", [finding]) == (finding,)


def test_a_refused_file_that_came_in_later_is_no_longer_listed(lab: Any, draw: Draw) -> None:
    files = {"a/1.png": draw(1), "b/2.png": draw(2), "loose.png": draw(3)}
    lab.import_(files)
    assert [item["name"] for item in lab.get("datasets/cells/versions/1/refused")["items"]] == ["loose.png"]
    lab.import_({"loose.png": draw(3)}, labels_csv="file,label\nloose.png,a\n")
    assert lab.get("datasets/cells/versions/2/refused")["items"] == []
    assert lab.version(2)["refused"] == 0


def test_class_order_is_kept_and_new_ones_come_in_natural_order() -> None:
    assert ordered_classes(["z", "b"], {"b", "10", "9", "z"}) == ("z", "b", "9", "10")
