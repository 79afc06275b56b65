"""What would be turned away is turned away before anything is spent on it: not read, not parsed, not logged.

Under ten times the load that we can take, nine of ten requests are refused. Each of them must cost so little that
the tenth keeps its latency.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from aimic.errors import OverloadedError
from aimic.telemetry import new_request_id, request_id
from aimic.web import PROBLEMS, problem_of


class Shedding:
    """ASGI middleware around everything else. `door` raises OverloadedError while nothing more is taken."""

    def __init__(self, app: ASGIApp, door: Callable[[], AbstractContextManager[None]], prefix: str) -> None:
        self._app = app
        self._door = door
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith(self._prefix):
            with ExitStack() as inside:
                try:
                    inside.enter_context(self._door())
                except OverloadedError as error:
                    await _turn_away(error, scope, receive, send)
                else:
                    await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _turn_away(error: OverloadedError, scope: Scope, receive: Receive, send: Send) -> None:
    sent = Headers(scope=scope).get("x-request-id", "")
    current = sent if 0 < len(sent) <= 64 and sent.isascii() and sent.isprintable() else new_request_id()
    token = request_id.set(current)
    try:
        PROBLEMS.labels("inference", error.code).inc()
        answer = problem_of(error)
        answer.headers["x-request-id"] = current
        await answer(scope, receive, send)
    finally:
        request_id.reset(token)
