"""The sentences of the tus 1.0.0 specification that say MUST or SHOULD, beyond what test_tus.py sends and reads."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest
from fastapi.testclient import TestClient

from aimic.errors import UnavailableError
from services.ingest.dependencies import Ingest
from services.ingest.uploads import receiving
from services.ingest.uploads.routes import router
from services.ingest.uploads.service import UploadService

TUS = {"tus-resumable": "1.0.0"}
BODY = {"content-type": "application/offset+octet-stream"}


@pytest.fixture
def parts(make_parts: Callable[..., Ingest]) -> Ingest:
    return make_parts(ingest_upload_limit=10_000)


@pytest.fixture
def client(parts: Ingest, make_client: Callable[..., TestClient]) -> TestClient:
    return make_client(parts, router)


def _create(client: TestClient, length: int, **more: str) -> str:
    answer = client.post("/api/v1/uploads", headers=TUS | {"upload-length": str(length)} | more)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


def test_the_version_is_on_every_answer_and_an_unknown_one_is_told_ours(client: TestClient) -> None:
    path = _create(client, 5)
    answers = [
        client.head(path, headers=TUS),
        client.head("/api/v1/uploads/none", headers=TUS),
        client.patch(path, headers=TUS | BODY | {"upload-offset": "3"}, content=b"x"),
        client.patch(path, headers=TUS | {"upload-offset": "0", "content-type": "text/plain"}, content=b"x"),
        client.put(path, headers=TUS),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 409, 415, 405]
    assert {answer.headers["tus-resumable"] for answer in answers} == {"1.0.0"}
    other = client.patch(path, headers=BODY | {"tus-resumable": "0.2.2", "upload-offset": "0"}, content=b"hello")
    assert (other.status_code, other.headers["tus-version"]) == (412, "1.0.0")
    assert client.head(path, headers=TUS).headers["upload-offset"] == "0", "the request was not processed"


def test_options_ignore_the_version_asked_with(client: TestClient) -> None:
    answer = client.options("/api/v1/uploads", headers={"tus-resumable": "9.9.9"})
    assert (answer.status_code, answer.headers["tus-version"]) == (204, "1.0.0")


def test_a_method_override_is_the_method(client: TestClient) -> None:
    path = _create(client, 5)
    as_patch = TUS | BODY | {"x-http-method-override": "PATCH", "upload-offset": "0"}
    answer = client.post(path, headers=as_patch, content=b"hello")
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "5")
    assert client.post(path, headers=TUS | {"x-http-method-override": "DELETE"}).status_code == 204
    assert client.head(path, headers=TUS).status_code == 404


def test_metadata_is_said_again_as_it_was_said(client: TestClient) -> None:
    told = "filename Y2VsbHMuemlw,is_confidential,filetype YXBwbGljYXRpb24vemlw"
    path = _create(client, 5, **{"upload-metadata": told})
    assert client.head(path, headers=TUS).headers["upload-metadata"] == told
    assert "upload-metadata" not in client.head(_create(client, 5), headers=TUS).headers


def test_a_head_of_a_finished_upload_still_says_its_offset_and_length(client: TestClient) -> None:
    path = _create(client, 2)
    client.patch(path, headers=TUS | BODY | {"upload-offset": "0"}, content=b"ab")
    answer = client.head(path, headers=TUS)
    assert (answer.headers["upload-offset"], answer.headers["upload-length"]) == ("2", "2")
    assert answer.headers["cache-control"] == "no-store"


def test_an_empty_upload_is_complete_from_its_beginning(client: TestClient) -> None:
    path = _create(client, 0)
    assert client.head(path, headers=TUS).headers["upload-offset"] == "0"
    answer = client.patch(path, headers=TUS | BODY | {"upload-offset": "0"}, content=b"")
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, "0")


def test_creation_with_upload_and_deferred_lengths_are_neither_announced_nor_done(client: TestClient) -> None:
    announced = client.options("/api/v1/uploads").headers["tus-extension"].split(",")
    assert not {"creation-with-upload", "creation-defer-length", "concatenation"} & set(announced)
    path = client.post("/api/v1/uploads", headers=TUS | BODY | {"upload-length": "5"}, content=b"hello")
    assert path.headers["upload-offset"] == "0"
    assert client.post("/api/v1/uploads", headers=TUS | {"upload-defer-length": "1"}).status_code == 422


def test_the_expiry_is_an_http_date_at_creation_and_after_each_patch(client: TestClient) -> None:
    answer = client.post("/api/v1/uploads", headers=TUS | {"upload-length": "5"})
    first = parsedate_to_datetime(answer.headers["upload-expires"])
    patched = client.patch(answer.headers["location"], headers=TUS | BODY | {"upload-offset": "0"}, content=b"he")
    assert parsedate_to_datetime(patched.headers["upload-expires"]) >= first
    assert first.tzinfo is not None


def test_an_unknown_checksum_algorithm_is_a_bad_request_and_nothing_is_taken(client: TestClient) -> None:
    path = _create(client, 5)
    digest = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    headers = TUS | BODY | {"upload-offset": "0", "upload-checksum": f"md5 {digest}"}
    assert client.patch(path, headers=headers, content=b"hello").status_code == 400
    assert client.head(path, headers=TUS).headers["upload-offset"] == "0"


class _Line:
    """A request whose body comes in the given pieces and is then cut."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def __call__(self) -> dict[str, object]:
        if self._pieces:
            return {"type": "http.request", "body": self._pieces.pop(0), "more_body": True}
        return {"type": "http.disconnect"}


async def _cut(client: TestClient, path: str, pieces: list[bytes], **more: str) -> None:
    headers = {**TUS, **BODY, "host": "localhost", "upload-offset": "0", **more}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "PATCH",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }

    async def send(_: object) -> None:
        return

    await client.app(scope, _Line(*pieces), send)


def test_of_a_cut_patch_everything_that_came_is_kept(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "PIECE", 4)
    path = _create(client, 20)
    asyncio.run(_cut(client, path, [b"hello ", b"wor"]))
    assert client.head(path, headers=TUS).headers["upload-offset"] == "9"
    client.patch(path, headers=TUS | BODY | {"upload-offset": "9"}, content=b"ld")
    assert client.head(path, headers=TUS).headers["upload-offset"] == "11"


def test_of_a_cut_patch_with_a_checksum_nothing_counts(
    client: TestClient, parts: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "PIECE", 4)
    path = _create(client, 20)
    digest = base64.b64encode(hashlib.sha256(b"hello world").digest()).decode()
    asyncio.run(_cut(client, path, [b"hello ", b"wor"], **{"upload-checksum": f"sha256 {digest}"}))
    assert client.head(path, headers=TUS).headers["upload-offset"] == "0"
    assert list(parts.blobs.list("local/uploads/")) == []


def test_a_store_that_is_away_in_the_middle_costs_nothing_that_was_acknowledged(
    client: TestClient, parts: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "PIECE", 4)
    path = _create(client, 12)
    put, left = parts.blobs.put, 2

    def away(key: str, data: bytes) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise UnavailableError("The store is away; try again.", retry_after_s=7)
        return put(key, data)

    with monkeypatch.context() as patch:
        patch.setattr(parts.blobs, "put", away)
        answer = client.patch(path, headers=TUS | BODY | {"upload-offset": "0"}, content=b"abcdefghijkl")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json()["detail"].startswith("The store is away")
    assert client.head(path, headers=TUS).headers["upload-offset"] == "8"
    answer = client.patch(path, headers=TUS | BODY | {"upload-offset": "8"}, content=b"ijkl")
    assert answer.headers["upload-offset"] == "12"


def test_of_two_patches_at_once_one_wins_and_the_other_learns_where_to_go_on(
    client: TestClient, parts: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _create(client, 10)
    stage = UploadService.stage

    def overtaken(self: UploadService, site: str, upload_id: str, data: bytes) -> object:
        if data == b"late!":
            with monkeypatch.context() as patch:
                patch.setattr(UploadService, "stage", stage)
                client.patch(path, headers=TUS | BODY | {"upload-offset": "0"}, content=b"early")
        return stage(self, site, upload_id, data)

    with monkeypatch.context() as patch:
        patch.setattr(UploadService, "stage", overtaken)
        late = client.patch(path, headers=TUS | BODY | {"upload-offset": "0"}, content=b"late!")
    assert (late.status_code, late.headers["upload-offset"]) == (409, "5")
    assert len(list(parts.blobs.list("local/uploads/"))) == 1, "the loser's bytes are gone"


def test_more_bodies_than_memory_has_room_for_wait_and_are_then_sent_away(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "AT_ONCE", 0)
    monkeypatch.setattr(receiving, "TURN_S", 0.05)
    path = _create(client, 5)
    answer = client.patch(path, headers=TUS | BODY | {"upload-offset": "0"}, content=b"hello")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert "nothing is lost" in answer.json()["detail"]
