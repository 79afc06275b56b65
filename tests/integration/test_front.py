"""The front port before a real service: streams stay streams, websockets join, absence is a sentence."""

import asyncio
import http.client
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from services.local.front.app import create_app
from services.local.servers.ports import free_ports
from services.local.settings import STEP, LocalSettings, Profile


@contextmanager
def _serving(app: ASGIApp, port: int) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)


async def _echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse(
        {"path": request.url.path, "query": request.url.query, "bytes": len(body), "host": request.headers["host"]},
        headers={"x-two": "1"},
    )


async def _ids(request: Request) -> Response:
    return JSONResponse({name: request.headers.getlist(name) for name in ("x-request-id", "traceparent")})


_arrived = threading.Semaphore(0)
"""Goes up with each event that has reached the one who listens."""


async def _ticks(_: Request) -> Response:
    async def ticks() -> AsyncIterator[str]:
        for number in range(3):
            yield f"data: {number}\n\n"
            if not await asyncio.to_thread(_arrived.acquire, timeout=30):
                yield "data: held back\n\n"

    return StreamingResponse(ticks(), media_type="text/event-stream")


_waiting, _left = threading.Event(), threading.Event()


async def _waits(request: Request) -> Response:
    """Answers nobody before he leaves."""
    await request.body()
    _waiting.set()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    _left.set()
    return Response()


async def _echo_socket(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
    await websocket.send_text((await websocket.receive_text()).upper())
    await websocket.send_bytes(await websocket.receive_bytes())
    await websocket.close()


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    front, behind, away = free_ports(3)
    return LocalSettings(home=tmp_path, port=front, ingest_port=behind, dashboard_port=behind, inference_port=away)


@pytest.fixture
def front(settings: LocalSettings) -> Iterator[str]:
    methods = ["GET", "POST", "PATCH"]
    behind = Starlette(
        routes=[
            Route("/api/v1/ticks", _ticks),
            Route("/api/v1/ids", _ids),
            Route("/api/v1/waits", _waits, methods=["GET", "POST"]),
            WebSocketRoute("/socket", _echo_socket),
            Route("/{path:path}", _echo, methods=methods),
        ]
    )
    with _serving(behind, settings.ingest_port), _serving(create_app(settings), settings.port):
        yield settings.front_url


def test_paths_queries_bodies_and_headers_pass_unchanged(front: str) -> None:
    answer = httpx.post(f"{front}/api/v1/a%2Fb?x=1&x=2", content=b"z" * 3_000_000)
    assert answer.json() | {"host": ""} == {"path": "/api/v1/a/b", "query": "x=1&x=2", "bytes": 3_000_000, "host": ""}
    assert answer.headers["x-two"] == "1"
    assert answer.headers["x-request-id"]


def test_the_service_behind_works_under_the_same_request_id_and_trace(front: str) -> None:
    answer = httpx.get(f"{front}/api/v1/ids")
    assert answer.json() == {"x-request-id": [answer.headers["x-request-id"]], "traceparent": []}
    sent = {"x-request-id": "mine", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    assert httpx.get(f"{front}/api/v1/ids", headers=sent).json() == {name: [value] for name, value in sent.items()}


def test_events_arrive_as_they_are_sent(front: str) -> None:
    heard = []
    with httpx.stream("GET", f"{front}/api/v1/ticks", timeout=60) as answer:
        for line in answer.iter_lines():
            if line:
                heard.append(line)
                _arrived.release()  # the next is sent when this one is here
    assert heard == ["data: 0", "data: 1", "data: 2"]


@pytest.mark.parametrize("body", [None, b"z" * 300_000])
def test_the_service_behind_hears_that_the_caller_left(front: str, body: bytes | None) -> None:
    _waiting.clear()
    _left.clear()
    caller = http.client.HTTPConnection(front.removeprefix("http://"), timeout=60)
    caller.request("POST" if body else "GET", "/api/v1/waits", body)
    assert _waiting.wait(60) and not _left.is_set()
    caller.close()
    assert _left.wait(30)


def test_websockets_join_with_their_subprotocol(front: str) -> None:
    with connect(f"{front.replace('http', 'ws')}/socket", subprotocols=["streamlit"], proxy=None) as joined:  # type: ignore[list-item]
        assert joined.subprotocol == "streamlit"
        joined.send("words")
        assert joined.recv() == "WORDS"
        joined.send(b"\x00\xff")
        assert joined.recv() == b"\x00\xff"


def test_a_service_that_is_away_is_a_sentence_and_a_time_to_come_back(front: str) -> None:
    answer = httpx.get(f"{front}/inference/v1/models")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert "inference service is not answering" in answer.json()["detail"]


def test_of_two_ingests_the_one_that_is_there_gets_every_request_whole(settings: LocalSettings) -> None:
    away, there = settings.ingest_port - STEP, settings.ingest_port
    two = settings.model_copy(update={"profile": Profile.SERVERS, "ingests": 2, "ingest_port": away})
    behind = Starlette(routes=[Route("/{path:path}", _echo, methods=["POST"])])
    with _serving(behind, there), _serving(create_app(two), two.port):
        for size in (10, 3_000_000, 20, 0):
            answer = httpx.post(f"{two.front_url}/api/v1/x", content=b"z" * size)
            assert (answer.status_code, answer.json()["bytes"]) == (200, size)


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
def test_pages_of_others_reach_nothing(front: str, headers: dict[str, str]) -> None:
    assert httpx.get(f"{front}/api/v1/x", headers=headers).status_code == 403
    with (
        pytest.raises(InvalidStatus),
        connect(f"{front.replace('http', 'ws')}/socket", additional_headers=headers, proxy=None),
    ):
        pass


def test_with_a_key_everything_asks_for_it(settings: LocalSettings) -> None:
    keyed = settings.model_copy(update={"api_key_file": settings.home / "key"})
    (settings.home / "key").write_text("a-long-key\n")
    with _serving(create_app(keyed), keyed.port):
        bare = httpx.get(f"{keyed.front_url}/page")
        assert bare.status_code == 401
        assert bare.headers["www-authenticate"].startswith("Basic")
        assert httpx.get(f"{keyed.front_url}/page", auth=("any", "wrong")).status_code == 401
        # The right key reaches the service behind, which is away in this test.
        assert httpx.get(f"{keyed.front_url}/page", auth=("any", "a-long-key")).status_code == 503
        bearer = {"authorization": "Bearer a-long-key"}
        assert httpx.get(f"{keyed.front_url}/api/v1/x", headers=bearer).status_code == 503
