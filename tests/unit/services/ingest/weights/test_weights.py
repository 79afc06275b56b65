"""Weights files: kept by their hash, and only what can be weights."""

import hashlib
import io
import zipfile
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from aimic.domain.site import OWNER
from services.ingest.dependencies import Ingest
from services.ingest.uploads.service import UploadService
from services.ingest.weights.routes import router


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
