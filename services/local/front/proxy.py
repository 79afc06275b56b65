"""A reverse proxy that buffers nothing: uploads, server-sent events and websockets pass as they come."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable

import httpx
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from aimic.auth import Authenticator
from aimic.disconnect import CLIENT_CLOSED_REQUEST, unless_gone
from aimic.errors import AimicError, NotAuthenticatedError, UnavailableError
from aimic.telemetry import outgoing
from aimic.web import problem_of
from services.local.front.routing import Routes

logger = logging.getLogger(__name__)

# RFC 9110 §7.6.1: these speak of one connection, not of the message.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
_WEBSOCKET_OWN = _HOP_BY_HOP | {
    "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol", "host",
}  # fmt: skip
_MAX_WEBSOCKET_BYTES = 256 * 2**20


def _end_to_end(headers: Iterable[tuple[str, str]], drop: frozenset[str] = _HOP_BY_HOP) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in drop]


class Proxy:
    """Passes requests on to the service that `Routes` names.

    It asks for the credential too, because the dashboard behind it acts with the installation's own key.
    """

    def __init__(self, routes: Routes, authenticator: Authenticator) -> None:
        self._routes = routes
        self._authenticator = authenticator
        # Reading has no time limit: events and training progress may be silent for long. Each service has its own.
        # The services close a connection after 5 s of rest; a request sent at that very moment would be lost.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=2.0)
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(None, connect=2.0), limits=limits, trust_env=False)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def http(self, request: Request) -> Response:
        """Pass one request on; UnavailableError (503, Retry-After) while the service behind is away."""
        try:
            self._authenticator.authenticate(request.headers)
        except NotAuthenticatedError as error:
            refusal = problem_of(error)
            refusal.headers["www-authenticate"] = 'Basic realm="AIMIC: any name, the API key as password"'
            return refusal
        return await self._pass_on(request)

    async def _pass_on(self, request: Request) -> Response:
        name, targets = self._routes.find(request.url.path)
        for target in targets:
            try:
                return await self._ask(target, request)
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent yet: the next may have it
            except httpx.TransportError as error:
                raise _away(name) from error
        raise _away(name)

    async def _ask(self, target: str, request: Request) -> Response:
        url = httpx.URL(f"http://{target}{request.scope['raw_path'].decode('ascii')}")
        passed = asyncio.Event()
        ours = outgoing()  # the same request and trace, and we are in between
        asked = self._client.build_request(
            request.method,
            url.copy_with(query=request.scope["query_string"] or None),
            headers=[*_end_to_end(request.headers.items(), _HOP_BY_HOP | ours.keys()), *ours.items()],
            content=_body(request, passed) if _has_body(request) else None,
        )
        if not _has_body(request):
            passed.set()
        # Who leaves before the answer begins is to be noticed by the service, too.
        answer = await unless_gone(request, self._client.send(asked, stream=True), passed)
        response = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        response.raw_headers = [
            (key.lower().encode("latin-1"), value.encode("latin-1"))
            for key, value in _end_to_end(answer.headers.multi_items())
        ]
        return response

    async def websocket(self, socket: WebSocket) -> None:
        """Join a browser's websocket with one to the service behind."""
        try:
            self._authenticator.authenticate(socket.headers)
        except AimicError:
            await _close(socket, 1008)
            return
        _, (target, *_) = self._routes.find(socket.url.path)
        query = socket.scope["query_string"].decode("latin-1")
        url = f"ws://{socket.headers.get('host', target)}{socket.url.path}" + (f"?{query}" if query else "")
        host, port = target.split(":")
        try:
            async with connect(
                url,
                host=host,
                port=int(port),
                additional_headers=_end_to_end(socket.headers.items(), _WEBSOCKET_OWN),
                subprotocols=[Subprotocol(name) for name in socket.scope.get("subprotocols", [])] or None,
                max_size=_MAX_WEBSOCKET_BYTES,
                compression=None,
                proxy=None,
                user_agent_header=None,
            ) as behind:
                await socket.accept(subprotocol=behind.subprotocol)
                await _join(socket, behind)
        except (OSError, WebSocketException) as error:
            logger.warning("websocket to %s not joined: %s", target, error)
            await _close(socket, 1013)


async def _body(request: Request, passed: asyncio.Event) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece
    passed.set()


def _away(name: str) -> UnavailableError:
    return UnavailableError(
        f"The {name} service is not answering just now; it is started again by itself. "
        "Nothing that was acknowledged is lost. Try again in a few seconds.",
        retry_after_s=2,
    )


async def _join(socket: WebSocket, behind: ClientConnection) -> None:
    pumps = {asyncio.create_task(_to_service(socket, behind)), asyncio.create_task(_to_browser(socket, behind))}
    _, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    for pump in pending:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)
    await _close(socket, 1001)


async def _to_service(socket: WebSocket, behind: ClientConnection) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data = message.get("bytes")
        await behind.send(message["text"] if data is None else data)


async def _to_browser(socket: WebSocket, behind: ClientConnection) -> None:
    try:
        async for data in behind:
            await (socket.send_bytes(data) if isinstance(data, bytes) else socket.send_text(data))
    except (ConnectionClosed, WebSocketDisconnect):
        return


async def _close(socket: WebSocket, code: int) -> None:
    try:
        await socket.close(code)
    except RuntimeError:
        return  # the browser had gone already


def _has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers
