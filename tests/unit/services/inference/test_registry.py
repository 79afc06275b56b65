"""A bundle's download goes on where it broke."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from aimic.domain.model import ServingEntry, Stage
from aimic.errors import UnavailableError
from services.inference.registry import Registry

pytestmark = pytest.mark.anyio
DATA = bytes(range(256)) * 100
ENTRY = ServingEntry(name="m", version=1, bundle_hash="ab", stage=Stage.SERVING, bundle_url="/bundle")


class _Breaking(httpx.AsyncByteStream):
    """Some bytes, then a broken connection."""

    def __init__(self, data: bytes, whole: bool) -> None:
        self._data, self._whole = data, whole

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data
        if not self._whole:
            raise httpx.ReadError("broke")


class Server(httpx.AsyncBaseTransport):
    """Hands out at most `at_once` bytes before it breaks the connection."""

    def __init__(self, at_once: int, ranges: bool = True) -> None:
        self.at_once, self.ranges = at_once, ranges
        self.asked: list[str | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a range, if ranges are known."""
        asked = request.headers.get("range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        rest = DATA[start:]
        status = 206 if start else 200
        return httpx.Response(status, stream=_Breaking(rest[: self.at_once], len(rest) <= self.at_once))


def _registry(server: Server) -> Registry:
    return Registry(httpx.AsyncClient(transport=server, base_url="http://registry"), 2**20)


async def test_each_try_brings_some_more(tmp_path: Path) -> None:
    server = Server(10_000)
    await _registry(server).download(ENTRY, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert server.asked == [None, "bytes=10000-", "bytes=20000-"]


async def test_a_registry_without_ranges_or_with_nothing_more_is_told(tmp_path: Path) -> None:
    for server in (Server(10_000, ranges=False), Server(0)):
        with pytest.raises(UnavailableError, match="could not be downloaded: broke"):
            await _registry(server).download(ENTRY, tmp_path / "file")
        assert len(server.asked) <= 2
        (tmp_path / "file").unlink()
