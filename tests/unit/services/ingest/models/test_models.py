"""The registry: bundles checked, numbered, served, promoted, exported and imported."""

import base64
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aimic.events import ModelsChanged
from services.ingest.relay import Relay


def _made(scene: Any, seed: int = 0, **settings: Any) -> dict[str, Any]:
    job = scene.start(**settings)
    scene.finish_all(job, seed)
    return dict(scene.job(job["id"]))


def _upload(scene: Any, data: bytes) -> str:
    tus = {"Tus-Resumable": "1.0.0"}
    name = base64.b64encode(b"model.aimic").decode()
    made = scene.client.post(
        "/api/v1/uploads", headers={**tus, "Upload-Length": str(len(data)), "Upload-Metadata": f"filename {name}"}
    )
    where = made.headers["location"]
    patch = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    assert scene.client.patch(where, content=data, headers=patch).status_code == 204
    return str(where.rpartition("/")[2])


def test_the_first_version_serves_and_a_later_one_waits_for_its_promotion(scene: Any) -> None:
    _made(scene), _made(scene, seed=1)
    versions = scene.client.get("/api/v1/models").json()["items"]
    assert [(v["name"], v["version"], v["stage"]) for v in versions] == [
        ("cells-resnet34", 2, "candidate"),
        ("cells-resnet34", 1, "serving"),
    ]
    assert versions[0]["metrics"]["pooled"]["accuracy"] == 0.9
    assert scene.client.get("/api/v1/models/cells-resnet34").json()["version"] == 1
    promoted = scene.client.post("/api/v1/models/cells-resnet34/versions/2/promote").json()
    assert promoted["stage"] == "serving"
    stages = [v["stage"] for v in scene.client.get("/api/v1/models").json()["items"]]
    assert stages == ["serving", "candidate"]
    entries = scene.client.get("/api/v1/serving").json()["items"]
    assert [(e["version"], e["stage"]) for e in entries] == [(1, "candidate"), (2, "serving")]


def test_inference_hears_of_a_change(scene: Any) -> None:
    heard = scene.parts.events.subscribe((ModelsChanged.topic,), "test")
    _made(scene)
    Relay(scene.parts).run_one()
    assert next(delivery.key for delivery in heard.poll(2)) == "cells-resnet34"
    heard.close()


def test_an_exported_bundle_imports_under_the_same_hash(scene: Any) -> None:
    _made(scene)
    version = scene.client.get("/api/v1/models/cells-resnet34/versions/1").json()
    exported = scene.client.get("/api/v1/models/cells-resnet34/versions/1/bundle")
    assert len(exported.content) == version["size"] == int(exported.headers["content-length"])
    assert "cells-resnet34-1" in exported.headers["content-disposition"]
    rest = scene.client.get("/api/v1/models/cells-resnet34/versions/1/bundle", headers={"range": "bytes=1000-"})
    assert rest.status_code == 206 and rest.content == exported.content[1000:]
    assert rest.headers["content-range"] == f"bytes 1000-{version['size'] - 1}/{version['size']}"
    body = {"upload": _upload(scene, exported.content), "name": "again"}
    imported = scene.client.post("/api/v1/models/import", json=body)
    assert imported.status_code == 201, imported.text
    assert imported.json()["bundle_hash"] == version["bundle_hash"] and imported.json()["stage"] == "serving"
    body = {"upload": _upload(scene, exported.content), "name": "again"}
    assert scene.client.post("/api/v1/models/import", json=body).json()["version"] == 1


def test_a_changed_or_foreign_file_is_not_registered(scene: Any) -> None:
    _made(scene)
    data = bytearray(scene.client.get("/api/v1/models/cells-resnet34/versions/1/bundle").content)
    data[data.find(b"fc.weight") + 40] ^= 1
    for bad in (bytes(data), b"nothing of the kind"):
        answer = scene.client.post("/api/v1/models/import", json={"upload": _upload(scene, bad)})
        assert answer.status_code == 422, answer.text
    assert len(scene.client.get("/api/v1/models").json()["items"]) == 1


def test_a_full_disk_of_ingest_is_told_and_the_upload_stays(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, upload = tempfile.TemporaryDirectory, _upload(scene, b"a model")

    @contextlib.contextmanager
    def full(**wishes: Any) -> Iterator[str]:
        with real(**wishes) as name:
            (Path(name) / "exported").symlink_to("/dev/full")
            yield name

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "TemporaryDirectory", full)
        answer = scene.client.post("/api/v1/models/import", json={"upload": upload})
    assert answer.status_code == 503 and "make room" in answer.json()["detail"], answer.text
    assert scene.client.post("/api/v1/models/import", json={"upload": upload}).status_code == 422


def test_a_package_without_a_whole_bundle_is_refused_and_the_job_goes_on(scene: Any) -> None:
    job = scene.start()
    while (claim := scene.claim())["task"]["kind"] != "package":
        scene.tell(claim, "finish", result={})
    assert scene.tell(claim, "finish", result={}).json()["code"] == "invalid_input"
    broken = scene.write(claim, 1, **{"bundle.aimic": b"half"})
    assert scene.tell(claim, "finish", result={}, objects=broken).status_code == 422
    assert scene.job(job["id"])["status"] == "running"
    whole = scene.write(claim, 2, **{"bundle.aimic": scene.bundle(job)})
    for _ in range(2):
        assert scene.tell(claim, "finish", result={}, objects=whole).status_code == 204
    assert scene.job(job["id"])["models"] == ["cells-resnet34:1"]


def test_unknown_models_are_a_404(scene: Any) -> None:
    for path in ("/x", "/x/versions/1", "/x/versions/1/bundle"):
        assert scene.client.get(f"/api/v1/models{path}").status_code == 404
    assert scene.client.post("/api/v1/models/x/versions/1/promote").status_code == 404
