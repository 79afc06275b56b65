"""Objects by address."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from aimic.errors import CorruptError, NotFoundError, UnavailableError
from services.trainer import transfer


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another at once."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


def _store(monkeypatch: pytest.MonkeyPatch, answers: list[httpx.Response | Exception]) -> list[httpx.Request]:
    """A store that answers in turn; the requests it saw."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    client = httpx.Client(transport=httpx.MockTransport(handle))
    for name in ("get", "put", "stream"):
        monkeypatch.setattr(httpx, name, getattr(client, name))
    return seen


def test_files_are_written_whole_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"data")
    target = tmp_path / "store" / "key%20"
    transfer.send(tmp_path / "a b", target.as_uri())
    assert transfer.read(target.as_uri(), "it", hashlib.sha256(b"data").hexdigest()) == b"data"
    assert transfer.fetch(target.as_uri(), tmp_path / "x" / "copy", "it").read_bytes() == b"data"
    assert [path.name for path in target.parent.iterdir()] == ["key%20"]


def test_a_name_that_was_told_outlives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every directory with a new entry is flushed, after the entry is there."""
    flushed: dict[Path, list[str]] = {}
    real = os.fsync

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            flushed[path] = [entry.name for entry in path.iterdir()]
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "a").write_bytes(b"data")
    transfer.send(tmp_path / "a", (tmp_path / "task" / "1" / "key").as_uri())
    assert flushed[tmp_path / "task" / "1"] == ["key"]
    assert flushed[tmp_path / "task"] == ["1"]
    assert "task" in flushed[tmp_path]


def test_bytes_that_are_not_those_named_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with pytest.raises(CorruptError):
        transfer.read((tmp_path / "a").as_uri(), "it", "0" * 64)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    for get in (lambda url: transfer.read(url, "it"), lambda url: transfer.fetch(url, tmp_path / "b", "it")):
        with pytest.raises(NotFoundError):
            get((tmp_path / "none").as_uri())


def test_a_store_that_stumbles_is_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    seen = _store(monkeypatch, [httpx.ConnectError("away"), httpx.Response(503), httpx.Response(200)])
    transfer.send(tmp_path / "a", "http://store/key?signature=x")
    assert [request.content for request in seen] == [b"data"] * 3
    assert seen[-1].headers["content-length"] == "4"
    assert "transfer-encoding" not in seen[-1].headers


def test_an_object_that_is_gone_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _store(monkeypatch, [httpx.Response(404)])
    with pytest.raises(NotFoundError):
        transfer.read("http://store/key", "it")
    assert len(seen) == 1


def test_a_store_that_stays_away_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers: list[Any] = [httpx.Response(500)] * transfer.TRIES
    _store(monkeypatch, answers)
    with pytest.raises(UnavailableError):
        transfer.fetch("http://store/key", tmp_path / "x", "it")
