"""Uploads go on from where they were, whatever breaks."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from aimic.client import BytesSource, Wait, uploads
from aimic.errors import FullError, InvalidInputError, NotFoundError, UnavailableError

DATA = bytes(range(256)) * 10


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "CHUNK_BYTES", 1000)


def test_bytes_arrive_whole_and_progress_is_told(server: Any, tus: Any) -> None:
    seen: list[tuple[int, int]] = []
    upload = server.client().uploads.send(DATA, progress=lambda done, total: seen.append((done, total)))
    assert bytes(tus.stored[upload.id]) == DATA
    assert seen == [(0, 2560), (1000, 2560), (2000, 2560), (2560, 2560)]
    assert upload.offset == upload.length == 2560


def test_broken_connections_and_server_errors_cost_nothing(server: Any, tus: Any) -> None:
    server.faults = [
        ("PATCH", httpx.ReadError("broke")),
        ("PATCH", httpx.Response(503, headers={"retry-after": "7"})),
        ("HEAD", httpx.ConnectError("refused")),
        ("PATCH", httpx.Response(500)),
    ]
    upload = server.client().uploads.send(DATA)
    assert bytes(tus.stored[upload.id]) == DATA
    assert max(server.waits) == 7.0


def test_a_patch_whose_answer_was_lost_is_not_sent_twice(server: Any, tus: Any) -> None:
    real = tus.patch
    calls = 0

    def stores_then_breaks(request: httpx.Request) -> Any:
        nonlocal calls
        calls += 1
        answer = real(request)
        if calls == 1:
            raise httpx.ReadTimeout("lost")
        return answer

    server.routes = [r for r in server.routes if r[0] != "PATCH"]
    server.on("PATCH", "/api/v1/uploads/[^/]+", stores_then_breaks)
    upload = server.client().uploads.send(DATA)
    assert bytes(tus.stored[upload.id]) == DATA
    assert calls == 3


def test_the_second_try_finds_the_first(server: Any, tus: Any) -> None:
    source = BytesSource(DATA, "cells.zip")
    tus.most = 300
    server.faults = [("PATCH", httpx.Response(413, json={"code": "too_large", "detail": "full"}))]
    with pytest.raises(Exception, match="full"):
        server.client().uploads.send(source)
    tus.stored["u1"] += DATA[:1500]
    tus.most = None
    server.requests.clear()
    upload = server.client().uploads.send(BytesSource(DATA, "cells.zip"))
    sent = sum(len(r.content) for r in server.requests if r.method == "PATCH")
    assert sent == len(DATA) - 1500
    assert upload.id == "u1"
    assert bytes(tus.stored["u1"]) == DATA


def test_a_finished_upload_is_not_sent_again(server: Any, tus: Any) -> None:
    server.client().uploads.send(DATA)
    server.requests.clear()
    server.client().uploads.send(DATA)
    assert [r.method for r in server.requests] == ["POST"]


def test_an_upload_that_the_server_forgot_starts_anew(server: Any, tus: Any) -> None:
    real = tus.patch

    def forgets_once(request: httpx.Request) -> Any:
        if "u1" in tus.stored:
            tus.stored = {"u2": bytearray()}
            tus.by_fingerprint = dict.fromkeys(tus.by_fingerprint, "u2")
            return httpx.Response(404)
        return real(request)

    server.routes = [r for r in server.routes if r[0] != "PATCH"]
    server.on("PATCH", "/api/v1/uploads/[^/]+", forgets_once)
    upload = server.client().uploads.send(DATA)
    assert upload.id == "u2"
    assert bytes(tus.stored["u2"]) == DATA


def test_a_server_that_stays_away_ends_it_with_what_was_kept(server: Any, tus: Any) -> None:
    away = httpx.ConnectError("away")

    def gone_after_first(request: httpx.Request) -> Any:
        if request.method == "PATCH" and request.headers["upload-offset"] == "0":
            return tus.patch(request)
        raise away

    server.routes = [r for r in server.routes if r[0] == "POST"]
    server.on("PATCH", ".*", gone_after_first)
    server.on("HEAD", ".*", gone_after_first)
    with pytest.raises(UnavailableError, match=r"stopped at 1,000 of 2,560 bytes.*kept"):
        server.client().uploads.send(DATA)


def test_whoever_waits_is_told_why_how_long_and_what_is_safe(server: Any, tus: Any) -> None:
    busy = httpx.Response(503, json={"code": "full", "detail": "The storage is full."}, headers={"retry-after": "5"})
    told: list[Wait] = []

    def full_at_first(request: httpx.Request) -> Any:
        return tus.patch(request) if request.headers["upload-offset"] == "0" or len(told) == 20 else busy

    server.routes = [r for r in server.routes if r[0] != "PATCH"]
    server.on("PATCH", ".*", full_at_first)
    upload = server.client().uploads.send(DATA, waiting=told.append)
    assert bytes(tus.stored[upload.id]) == DATA
    assert {wait.words for wait in told} == {"The storage is full. Trying again in 5 s; 39% is safe."}
    assert isinstance(told[0].error, FullError)


def test_files_have_the_name_and_a_fingerprint_that_changes_with_them(tmp_path: Path) -> None:
    from aimic.client.sources import source_of

    path = tmp_path / "cells.zip"
    path.write_bytes(DATA)
    first = source_of(path)
    assert (first.filename, first.size, first.read(250, 10)) == ("cells.zip", 2560, DATA[250:260])
    assert source_of(str(path)).fingerprint == first.fingerprint
    path.write_bytes(DATA + b"x")
    assert source_of(path).fingerprint != first.fingerprint


def test_a_file_that_shrinks_while_sent_is_refused(server: Any, tus: Any, tmp_path: Path) -> None:
    path = tmp_path / "cells.zip"
    path.write_bytes(DATA)

    def shrink(done: int, total: int) -> None:
        path.write_bytes(b"")

    with pytest.raises(InvalidInputError, match="changed while it was sent"):
        server.client().uploads.send(path, progress=shrink)


def test_nothing_is_sent_of_what_is_empty_or_absent(server: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        server.client().uploads.send(b"")
    with pytest.raises(NotFoundError, match="no file or folder"):
        server.client().uploads.send(tmp_path / "nothing")
    assert server.requests == []
