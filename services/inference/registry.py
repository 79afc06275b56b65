"""What the registry (ingest) says should be served, and its bundles. It may be away; serving goes on."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

from aimic.domain.model import ServingEntry
from aimic.errors import CorruptError, NotFoundError, TooLargeError, UnavailableError

LIST = "/api/v1/serving"
_TIMEOUT = httpx.Timeout(15.0, connect=2.0)
_MOST_PAGES = 1000
Room = Callable[[int], Awaitable[None]]
"""Makes room for a file of so many bytes, or raises."""


def client(url: str, key: str | None) -> httpx.AsyncClient:
    """A client of ingest with this installation's key. Proxies of the environment are not for our own parts."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False)


class Registry:
    """Reads `GET /api/v1/serving` and downloads bundles."""

    def __init__(self, http: httpx.AsyncClient, most_bytes: int) -> None:
        self._http = http
        self._most_bytes = most_bytes

    async def wanted(self) -> tuple[ServingEntry, ...]:
        """Every version that isn't retired; UnavailableError when the registry has no sensible answer."""
        entries: list[ServingEntry] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await self._page(cursor)
            try:
                entries += [ServingEntry.model_validate(item) for item in page["items"]]
                cursor = page.get("next")
            except (KeyError, TypeError, ValidationError) as error:
                raise UnavailableError(f"The registry's list can't be understood: {error}") from error
            if not cursor:
                return tuple(entries)
        raise UnavailableError("The registry's list has no end.")

    async def download(self, entry: ServingEntry, file: Path, room: Room) -> None:
        """Stream the exported bundle to `file`, going on where a connection broke; `room` is asked before.

        UnavailableError when the registry is away, NotFoundError when it has no such file, TooLargeError
        beyond the limit, CorruptError for an address that isn't the registry's, and what `room` raises.
        """
        if not entry.bundle_url.startswith("/") or entry.bundle_url.startswith("//"):
            raise CorruptError("The bundle's address leads away from the registry, so it was not followed.")
        have = -1
        while (now := file.stat().st_size if file.exists() else 0) > have:
            have = now
            try:
                return await self._fetch(entry.bundle_url, file, have, room)
            except httpx.HTTPError as error:
                # What came is kept, and the rest asked for, as long as each try brings some more.
                reason = error
        raise UnavailableError(f"The bundle could not be downloaded: {_words(reason)}") from reason

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def _page(self, cursor: str | None) -> Any:
        try:
            answer = await self._http.get(LIST, params={"cursor": cursor} if cursor else None)
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnavailableError(f"The registry did not say what to serve: {_words(error)}") from error

    async def _fetch(self, url: str, file: Path, have: int, room: Room) -> None:
        headers = {"range": f"bytes={have}-"} if have else {}
        async with self._http.stream("GET", url, headers=headers) as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise NotFoundError("The registry no longer has this bundle's file.")
            answer.raise_for_status()
            begins = have if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
            size = begins + int(answer.headers.get("content-length", 0))
            self._check_size(size)
            await room(size)
            await self._save(answer, file, begins)

    async def _save(self, answer: httpx.Response, file: Path, have: int) -> None:
        size = have
        with file.open("ab" if have else "wb") as target:
            async for piece in answer.aiter_bytes():
                size += len(piece)
                self._check_size(size)
                target.write(piece)

    def _check_size(self, size: int) -> None:
        if size > self._most_bytes:
            raise TooLargeError(f"The bundle is larger than the {self._most_bytes // 1024**2:,} MiB that are taken.")


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
