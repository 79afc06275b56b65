"""tus 1.0 over the real application, on files and SQLite in a temporary directory."""

import base64
import hashlib
import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from aimic import faults
from aimic.errors import UnavailableError
from services.ingest.dependencies import Ingest
from services.ingest.tasks.sweeper import Sweeper
from services.ingest.uploads import receiving, service
from services.ingest.uploads.routes import router
from services.ingest.uploads.service import UploadService, open_upload
from services.ingest.uploads.tables import UploadRow

TUS = {"tus-resumable": "1.0.0"}


@pytest.fixture
def parts(make_parts: Callable[..., Ingest]) -> Ingest:
    return make_parts(ingest_upload_limit=10_000)


@pytest.fixture
def client(parts: Ingest, make_client: Callable[..., TestClient]) -> TestClient:
    return make_client(parts, router)


def _b64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def _create(client: TestClient, length: int, fingerprint: str | None = None, name: str = "cells.zip") -> str:
    metadata = f"filename {_b64(name)}" + (f",fingerprint {_b64(fingerprint)}" if fingerprint else "")
    answer = client.post("/api/v1/uploads", headers=TUS | {"upload-length": str(length), "upload-metadata": metadata})
    assert answer.status_code in {200, 201}, answer.text
    assert answer.headers["tus-resumable"] == "1.0.0"
    return answer.headers["location"]


def _patch(client: TestClient, path: str, offset: int, data: bytes, **more: str) -> tuple[int, str | None]:
    headers = TUS | {"upload-offset": str(offset), "content-type": "application/offset+octet-stream"} | more
    answer = client.patch(path, headers=headers, content=data)
    return answer.status_code, answer.headers.get("upload-offset")


def _offset(client: TestClient, path: str) -> int:
    answer = client.head(path, headers=TUS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return int(answer.headers["upload-offset"])


def _content(parts: Ingest, path: str) -> bytes:
    with parts.database.read("local") as session:
        _, file = open_upload(session, parts.blobs, "local", path.rsplit("/", 1)[-1])
    with file:
        return file.read()


def _stored(parts: Ingest) -> list[str]:
    return [blob.key for blob in parts.blobs.list("local/uploads/")]


def test_options_say_what_is_spoken(client: TestClient) -> None:
    answer = client.options("/api/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["tus-extension"] == "creation,checksum,expiration,termination"
    assert answer.headers["tus-checksum-algorithm"] == "sha256,sha1"
    assert answer.headers["tus-max-size"] == "10000"


def test_an_upload_in_pieces_is_read_back_as_one_file(client: TestClient, parts: Ingest) -> None:
    data = os.urandom(1000)
    path = _create(client, len(data))
    assert _offset(client, path) == 0
    assert _patch(client, path, 0, data[:1]) == (204, "1")
    assert _patch(client, path, 1, data[1:700]) == (204, "700")
    assert _offset(client, path) == 700
    assert _patch(client, path, 700, data[700:]) == (204, "1000")
    assert _content(parts, path) == data


def test_a_large_patch_is_stored_in_pieces(client: TestClient, parts: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "PIECE", 100)
    data = os.urandom(950)
    path = _create(client, 950)
    assert _patch(client, path, 0, data) == (204, "950")
    assert len(_stored(parts)) == 10
    with parts.database.read("local") as session:
        _, file = open_upload(session, parts.blobs, "local", path.rsplit("/", 1)[-1])
    with file:
        file.seek(-60, os.SEEK_END)
        assert file.read(50) == data[890:940]
        file.seek(95)
        assert file.read(10) == data[95:105]


def test_what_was_acknowledged_is_there_after_a_restart(
    client: TestClient, make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient]
) -> None:
    path = _create(client, 10)
    _patch(client, path, 0, b"hello")
    again = make_parts()
    other = make_client(again, router)
    assert _offset(other, path) == 5
    assert _patch(other, path, 5, b"world") == (204, "10")
    assert _content(again, path) == b"helloworld"


def test_a_wrong_offset_is_refused_and_nothing_changes(client: TestClient, parts: Ingest) -> None:
    path = _create(client, 10)
    _patch(client, path, 0, b"hello")
    assert _patch(client, path, 0, b"again")[0] == 409
    assert _patch(client, path, 7, b"wor") == (409, "5"), "the answer says where to go on"
    assert _offset(client, path) == 5
    assert len(_stored(parts)) == 1


def test_of_two_writers_at_one_place_one_wins(parts: Ingest, client: TestClient) -> None:
    path = _create(client, 10)
    upload_id = path.rsplit("/", 1)[-1]
    uploads = UploadService(parts)
    first, second = (uploads.stage("local", upload_id, data) for data in (b"first", b"other"))
    uploads.record("local", upload_id, 0, [first])
    with pytest.raises(Exception, match="ends at byte 5"):
        uploads.record("local", upload_id, 0, [second])
    uploads.discard([second])
    assert _content(parts, path)[:5] == b"first"


def test_more_bytes_than_announced_are_refused(client: TestClient) -> None:
    path = _create(client, 4)
    assert _patch(client, path, 0, b"12345")[0] == 413
    assert _offset(client, path) == 0


def test_an_upload_over_the_limit_is_refused(client: TestClient) -> None:
    answer = client.post("/api/v1/uploads", headers=TUS | {"upload-length": "10001"})
    assert answer.status_code == 413
    assert "10,000" in answer.json()["detail"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_a_checksum_that_holds_is_taken(client: TestClient, parts: Ingest, algorithm: str) -> None:
    path = _create(client, 5)
    checksum = f"{algorithm} {_b64(hashlib.new(algorithm, b'hello').digest())}"
    assert _patch(client, path, 0, b"hello", **{"upload-checksum": checksum}) == (204, "5")
    assert _content(parts, path) == b"hello"


def test_a_checksum_that_does_not_hold_leaves_nothing(client: TestClient, parts: Ingest) -> None:
    path = _create(client, 5)
    checksum = f"sha256 {_b64(hashlib.sha256(b'hello').digest())}"
    assert _patch(client, path, 0, b"jello", **{"upload-checksum": checksum})[0] == 460
    assert _offset(client, path) == 0
    assert _stored(parts) == []


@pytest.mark.parametrize("checksum", ["md5 AAAA", "sha256 !!!", "sha256"])
def test_a_checksum_that_says_nothing_is_refused(client: TestClient, checksum: str) -> None:
    path = _create(client, 5)
    status, _ = _patch(client, path, 0, b"hello", **{"upload-checksum": checksum})
    assert status in {400, 422, 460}
    assert _offset(client, path) == 0


def test_the_same_fingerprint_and_length_find_the_first_upload(client: TestClient) -> None:
    path = _create(client, 10, "abc")
    _patch(client, path, 0, b"hello")
    answer = client.post(
        "/api/v1/uploads",
        headers=TUS | {"upload-length": "10", "upload-metadata": f"fingerprint {_b64('abc')}"},
    )
    assert answer.status_code == 200
    assert answer.headers["location"] == path
    assert answer.headers["upload-offset"] == "5"
    assert _create(client, 11, "abc") != path
    assert _create(client, 10, "abd") != path


def test_a_terminated_upload_is_gone_with_its_bytes(client: TestClient, parts: Ingest) -> None:
    path = _create(client, 10, "abc")
    _patch(client, path, 0, b"hello")
    assert client.delete(path, headers=TUS).status_code == 204
    assert client.head(path, headers=TUS).status_code == 404
    assert _stored(parts) == []
    assert _create(client, 10, "abc") != path


def test_an_upload_in_use_is_neither_ended_nor_swept(client: TestClient, parts: Ingest) -> None:
    path = _create(client, 5)
    _patch(client, path, 0, b"hello")
    with parts.database.begin("local") as session:
        row = session.get(UploadRow, ("local", path.rsplit("/", 1)[-1]))
        assert row is not None
        row.used_by, row.expires_at = "an import", row.created_at - timedelta(days=1)
    assert client.delete(path, headers=TUS).status_code == 409
    assert UploadService(parts).sweep() == 0
    assert _content(parts, path) == b"hello"


def test_an_abandoned_upload_is_swept_with_what_was_never_recorded(client: TestClient, parts: Ingest) -> None:
    path, kept = _create(client, 10), _create(client, 10)
    upload_id = path.rsplit("/", 1)[-1]
    _patch(client, path, 0, b"hello")
    _patch(client, kept, 0, b"world")
    service.UploadService(parts).stage("local", upload_id, b"orphan")
    with parts.database.begin("local") as session:
        row = session.get(UploadRow, ("local", upload_id))
        assert row is not None
        row.expires_at = row.created_at - timedelta(seconds=1)
    assert client.head(path, headers=TUS).status_code == 404
    assert UploadService(parts).sweep() == 1
    assert len(_stored(parts)) == 1
    assert _offset(client, kept) == 5


def test_bytes_that_another_replica_stored_for_an_ended_upload_do_not_stay(
    client: TestClient, parts: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_LATE_S", 0.0)
    path = _create(client, 10)
    assert client.delete(path, headers=TUS).status_code == 204
    UploadService(parts).stage("local", path.rsplit("/", 1)[-1], b"late")
    assert len(_stored(parts)) == 1
    Sweeper(parts).run_one()
    assert not _stored(parts)


@pytest.mark.parametrize("checksum", [False, True])
def test_bytes_whose_commit_was_never_answered_are_kept_since_they_may_count(
    client: TestClient, parts: Ingest, monkeypatch: pytest.MonkeyPatch, checksum: bool
) -> None:
    path = _create(client, 10)
    digest = {"upload-checksum": f"sha256 {_b64(hashlib.sha256(b'hello').digest())}"} if checksum else {}

    def cut(point: str) -> None:
        if point == "ingest.upload.recorded":
            raise UnavailableError("The records can't be reached just now.")

    with monkeypatch.context() as patched:
        patched.setattr(faults, "point", cut)
        assert _patch(client, path, 0, b"hello", **digest)[0] == 503
    assert _offset(client, path) == 5
    assert _patch(client, path, 5, b"world")[0] == 204
    assert _content(parts, path) == b"helloworld"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 412),
        ({"tus-resumable": "0.2.0", "upload-length": "5"}, 412),
        (TUS, 422),
        (TUS | {"upload-length": "-1"}, 422),
        (TUS | {"upload-length": "ten"}, 422),
        (TUS | {"upload-length": "5", "upload-metadata": "filename ???"}, 422),
        (TUS | {"upload-length": "5", "upload-metadata": "a QQ==,a QQ=="}, 422),
        (TUS | {"upload-length": "5", "upload-metadata": "a " + "A" * 5000}, 422),
    ],
)
def test_a_creation_that_makes_no_sense_is_a_problem(client: TestClient, headers: dict[str, str], status: int) -> None:
    answer = client.post("/api/v1/uploads", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["tus-resumable"] == "1.0.0"


def test_a_patch_of_another_type_is_refused(client: TestClient) -> None:
    path = _create(client, 5)
    answer = client.patch(path, headers=TUS | {"upload-offset": "0", "content-type": "image/png"}, content=b"hello")
    assert answer.status_code == 415


def test_a_stranger_page_may_not_upload(client: TestClient) -> None:
    answer = client.post("/api/v1/uploads", headers=TUS | {"upload-length": "5", "origin": "https://evil.example"})
    assert answer.status_code == 403
