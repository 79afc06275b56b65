"""Import in one call, and downloads that are whole or absent."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from aimic.client import ImportStep
from aimic.domain.dataset import ImportStatus, LabelRule
from aimic.errors import UnavailableError


def _state(status: str, seen: int) -> dict[str, Any]:
    return {
        "id": "i1",
        "dataset": "blood",
        "status": status,
        "seen": seen,
        "total": 4,
        "created_at": "2026-01-01T00:00:00Z",
    }


def test_import_sends_starts_and_waits(server: Any, tus: Any) -> None:
    states = [_state("running", 2), _state("done", 4)]
    text = "".join(f"event: import\ndata: {json.dumps(s)}\n\n" for s in states)
    server.on("POST", "/api/v1/imports", lambda _: httpx.Response(202, json=_state("ready", 0)))
    server.on("GET", "/api/v1/imports/i1", _state("running", 1))
    server.on("GET", "/api/v1/imports/i1/events", lambda _: httpx.Response(200, text=text))
    steps: list[ImportStep] = []
    labels = LabelRule(group_pattern="P(?P<group>[0-9]+)")
    result = server.client().datasets.import_([b"one", b"two"], "blood", labels, steps.append)
    assert result.status is ImportStatus.DONE
    assert [(s.phase, s.done) for s in steps] == [
        ("send", 0),
        ("send", 3),
        ("send", 0),
        ("send", 3),
        ("import", 1),
        ("import", 2),
        ("import", 4),
    ]
    body = next(json.loads(r.content) for r in server.requests if r.url.path == "/api/v1/imports")
    assert body["uploads"] == ["u1", "u2"]
    assert body["labels"]["group_pattern"] == labels.group_pattern


def test_an_export_takes_the_servers_name_but_no_path_of_it(server: Any, tmp_path: Path) -> None:
    headers = {"content-disposition": 'attachment; filename="../../etc/blood-3.zip"'}
    server.on("GET", ".*/export", lambda _: httpx.Response(200, content=b"zip", headers=headers))
    path = server.client().datasets.export("blood", tmp_path, version=3)
    assert path == tmp_path / "blood-3.zip"
    assert path.read_bytes() == b"zip"


def test_a_broken_download_leaves_nothing(server: Any, tmp_path: Path) -> None:
    class Breaks(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield b"half"
            raise httpx.ReadError("broke")

    server.on("GET", ".*/export", lambda _: httpx.Response(200, stream=Breaks()))
    with pytest.raises(UnavailableError, match="broke"):
        server.client().datasets.export("blood", tmp_path / "out.zip", version=1)
    assert list(tmp_path.iterdir()) == []


def test_names_are_quoted(server: Any) -> None:
    server.on("GET", "/api/v1/datasets/a/b c", {"name": "a/b c", "latest": None, "created_at": "2026-01-01T00:00:00Z"})
    assert server.client().datasets.show("a/b c").name == "a/b c"
    assert server.requests[0].url.raw_path == b"/api/v1/datasets/a%2Fb%20c"
