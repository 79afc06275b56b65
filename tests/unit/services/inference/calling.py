"""What the tests of the REST surfaces ask of a running service."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from starlette.types import ASGIApp

from services.inference.app import Service
from services.inference.rest.application import application
from services.inference.settings import Settings

CELLS = "/inference/v1/models/cells/predict"


def client(parts: Service, settings: Settings, *, ready: bool = True) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application(settings, parts.plane, lambda: ready))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers={"accept-encoding": "identity"})


def parts_of(*images: bytes, field: str = "images") -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(field, (f"{number}.png", data, "image/png")) for number, data in enumerate(images)]


def is_problem(answer: httpx.Response, status: int, code: str) -> bool:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= body.keys()
    return (answer.status_code, body["status"], body["code"]) == (status, status, code)


class Leaving:
    """A caller who posts a body, and leaves before the answer once told to."""

    def __init__(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.leave = asyncio.Event()
        self.status = 0
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": raw}
        self._coming = [{"type": "http.request", "body": body, "more_body": False}]

    async def ask(self, app: ASGIApp) -> None:
        """Until the service has done with it; `status` is what nobody reads then."""
        await app(self._scope, self._receive, self._send)

    async def _receive(self) -> Any:
        if self._coming:
            return self._coming.pop()
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = self.status or message["status"]
