"""A download goes on where it broke, and appears when it is whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aimic.errors import UnavailableError

DATA = bytes(range(256)) * 40
PATH = "/api/v1/models/m/versions/1/bundle"


class _Piece(httpx.SyncByteStream):
    """Some bytes, and then perhaps a broken connection."""

    def __init__(self, data: bytes, *, breaks: bool) -> None:
        self._data, self._breaks = data, breaks

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        if self._breaks:
            raise httpx.ReadError("broke")


def _serve(server: Any, *, ranges: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        start = int(request.headers.get("range", "bytes=0-")[6:-1]) if ranges else 0
        rest = DATA[start : start + 4000]
        headers = {"content-length": str(len(DATA) - start)} | ({"accept-ranges": "bytes"} if ranges else {})
        stream = _Piece(rest, breaks=start + len(rest) < len(DATA))
        return httpx.Response(206 if start else 200, headers=headers, stream=stream)

    server.on("GET", PATH, answer)


def test_it_goes_on_where_it_broke_and_waits_for_a_server_that_asks(server: Any, tmp_path: Path) -> None:
    _serve(server, ranges=True)
    server.faults = [("GET", httpx.Response(503, headers={"retry-after": "7"}))] * 5
    seen: list[tuple[int, int | None]] = []
    file = server.client().models.export("m", tmp_path, 1, lambda done, total: seen.append((done, total)))
    assert file.read_bytes() == DATA and file.parent == tmp_path
    assert [done for done, _ in seen] == [4000, 8000, len(DATA)] and {total for _, total in seen} == {len(DATA)}
    assert server.waits[:5] == [7.0] * 5
    assert [r.headers.get("range") for r in server.requests[5:]] == [None, "bytes=4000-", "bytes=8000-"]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_server_without_ranges_is_not_asked_for_everything_again(server: Any, tmp_path: Path) -> None:
    _serve(server, ranges=False)
    with pytest.raises(UnavailableError):
        server.client().models.export("m", tmp_path, 1)
    assert len(server.requests) == 1 and list(tmp_path.iterdir()) == []
