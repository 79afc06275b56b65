"""Weights files: kept by their hash, and only what can be weights."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from aimic.domain.site import OWNER
from aimic.errors import UnavailableError
from services.ingest.dependencies import Ingest
from services.ingest.uploads.service import UploadService
from services.ingest.uploads.tables import UploadRow
from services.ingest.weights import service
from services.ingest.weights.routes import router
from services.ingest.weights.schemas import WeightsFile


def _upload(parts: Ingest, data: bytes) -> str:
    uploads = UploadService(parts)
    live, _ = uploads.create(OWNER, len(data), "resnet34.pth", None)
    if data:
        uploads.record("local", live.upload.id, 0, [uploads.stage("local", live.upload.id, data)])
    return live.upload.id


def _pth() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", b"pickled")
    return out.getvalue()


@pytest.mark.parametrize("data", [_pth(), (2).to_bytes(8, "little") + b"{}", b"\x80\x02old"])
def test_a_weights_file_is_kept_by_its_hash(
    make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient], data: bytes
) -> None:
    parts = make_parts()
    client = make_client(parts, router)
    body = {"upload": _upload(parts, data)}
    answer = client.post("/api/v1/weights", json=body, headers={"idempotency-key": "k"})
    sha256 = hashlib.sha256(data).hexdigest()
    assert answer.status_code == 201
    assert answer.json() == {"sha256": sha256, "weights": f"file:{sha256}"}
    assert parts.blobs.get(f"local/weights/{sha256}") == data
    assert list(parts.blobs.list("local/uploads/")) == []
    assert client.post("/api/v1/weights", json=body, headers={"idempotency-key": "k"}).json() == answer.json()


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n....", b"hello, these are no weights"])
def test_what_can_be_no_weights_is_refused(
    make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient], data: bytes
) -> None:
    parts = make_parts()
    answer = make_client(parts, router).post("/api/v1/weights", json={"upload": _upload(parts, data)})
    assert answer.status_code == 422
    assert list(parts.blobs.list("local/weights/")) == []


def test_an_unknown_upload_is_not_found(
    make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient]
) -> None:
    assert make_client(make_parts(), router).post("/api/v1/weights", json={"upload": "x"}).status_code == 404


def _used(parts: Ingest, upload: str) -> None:
    with parts.database.begin("local") as session:
        session.get_one(UploadRow, ("local", upload)).used_by = "an import"


def test_an_upload_that_an_import_reads_is_left_to_it(
    make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient]
) -> None:
    parts = make_parts()
    upload = _upload(parts, _pth())
    _used(parts, upload)
    answer = make_client(parts, router).post("/api/v1/weights", json={"upload": upload})
    assert answer.status_code == 409 and "as an upload of its own" in answer.json()["detail"]
    assert len(list(parts.blobs.list("local/uploads/"))) == 1


def test_an_import_that_takes_up_the_upload_meanwhile_keeps_it(
    make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_parts()
    upload, real = _upload(parts, _pth()), service.keep

    def keep(*arguments: Any) -> WeightsFile:
        kept = real(*arguments)
        _used(parts, upload)
        return kept

    monkeypatch.setattr(service, "keep", keep)
    assert make_client(parts, router).post("/api/v1/weights", json={"upload": upload}).status_code == 201
    assert len(list(parts.blobs.list("local/uploads/"))) == 1
    assert UploadService(parts).show("local", upload).expires_at > datetime.now(UTC)


def test_weights_are_kept_though_the_upload_can_only_go_later(
    make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_parts()

    def away(_: str) -> None:
        raise UnavailableError("The store is away.")

    with monkeypatch.context() as patch:
        patch.setattr(parts.blobs, "delete", away)
        answer = make_client(parts, router).post("/api/v1/weights", json={"upload": _upload(parts, _pth())})
    assert answer.status_code == 201
    assert len(list(parts.blobs.list("local/uploads/"))) == 1
    assert UploadService(parts).sweep() == 1 and list(parts.blobs.list("local/uploads/")) == []
