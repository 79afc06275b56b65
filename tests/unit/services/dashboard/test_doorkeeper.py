"""Who may open the dashboard."""

import asyncio
import base64
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from aimic.auth import Authenticator
from services.dashboard.doorkeeper import Doorkeeper
from services.dashboard.settings import Settings


async def _behind(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(Request(scope).headers.get("origin", "none"))(scope, receive, send)


def _ask(key: str | None = None, **headers: str) -> httpx.Response:
    settings = Settings.model_validate({"api_key": key})
    app = Doorkeeper(_behind, Authenticator(settings))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as http:
            return await http.get("/", headers=headers)

    return asyncio.run(ask())


def _basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{key}".encode()).decode()


def test_this_machine_and_its_own_pages_come_in() -> None:
    assert _ask().text == "none"
    # What Streamlit sees is a name that it knows, so that it asks nobody on the internet.
    assert _ask(origin="http://127.0.0.1:8080").text == "http://localhost"


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}])
def test_nothing_foreign_comes_in(headers: dict[str, str]) -> None:
    assert _ask(**headers).status_code == 403


def test_with_a_key_it_is_asked_for() -> None:
    refused = _ask("secret")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert _ask("secret", authorization=_basic("wrong")).status_code == 401
    assert _ask("secret", authorization=_basic("secret")).status_code == 200


def test_a_foreign_page_can_not_borrow_the_key() -> None:
    headers = {"host": "lab.example", "authorization": _basic("secret")}
    assert _ask("secret", **headers, origin="https://lab.example").status_code == 200
    assert _ask("secret", **headers, origin="https://evil.example").status_code == 403


def test_a_websocket_is_refused_too() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {
        "type": "websocket",
        "path": "/_stcore/stream",
        "headers": [(b"host", b"127.0.0.1"), (b"origin", b"http://evil.example")],
        "extensions": {"websocket.http.response": {}},
    }
    asyncio.run(Doorkeeper(_behind, Authenticator(Settings()))(scope, receive, send))
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 403
