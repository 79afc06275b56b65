"""A bundle's download goes on where it broke."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from aimic.domain.model import ServingEntry, Stage
from aimic.errors import FullError, TooLargeError, UnavailableError
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

    def __init__(self, at_once: int, ranges: bool = True, says_size: bool = False) -> None:
        self.at_once, self.ranges, self.says_size = at_once, ranges, says_size
        self.asked: list[str | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a range, if ranges are known."""
        asked = request.headers.get("range")
        self.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        rest = DATA[start:]
        status = 206 if start else 200
        headers = {"content-length": str(len(rest))} if self.says_size else {}
        broken = _Breaking(rest[: self.at_once], len(rest) <= self.at_once)
        return httpx.Response(status, headers=headers, stream=broken)


async def room(_: int) -> None:
    """There is always enough."""


def _registry(server: Server) -> Registry:
    return Registry(httpx.AsyncClient(transport=server, base_url="http://registry"), 2**20)


async def test_each_try_brings_some_more(tmp_path: Path) -> None:
    server = Server(10_000)
    await _registry(server).download(ENTRY, tmp_path / "file", room)
    assert (tmp_path / "file").read_bytes() == DATA
    assert server.asked == [None, "bytes=10000-", "bytes=20000-"]


async def test_a_registry_without_ranges_or_with_nothing_more_is_told(tmp_path: Path) -> None:
    for server in (Server(10_000, ranges=False), Server(0)):
        with pytest.raises(UnavailableError, match="could not be downloaded: broke"):
            await _registry(server).download(ENTRY, tmp_path / "file", room)
        assert len(server.asked) <= 2
        (tmp_path / "file").unlink()


async def test_room_is_asked_for_with_the_whole_size_before_anything_is_written(tmp_path: Path) -> None:
    asked: list[int] = []

    async def full(size: int) -> None:
        asked.append(size)
        raise FullError("No room.")

    with pytest.raises(FullError):
        await _registry(Server(10_000, says_size=True)).download(ENTRY, tmp_path / "file", full)
    assert asked == [len(DATA)] and not (tmp_path / "file").exists()


async def test_what_says_that_it_is_too_large_is_not_even_begun(tmp_path: Path) -> None:
    registry = Registry(httpx.AsyncClient(transport=Server(10, says_size=True), base_url="http://registry"), 1000)
    with pytest.raises(TooLargeError):
        await registry.download(ENTRY, tmp_path / "file", room)
    assert not (tmp_path / "file").exists()
