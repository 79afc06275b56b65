"""What would be turned away is turned away before anything is spent on it: not read, not parsed, not logged.

Under ten times the load that we can take, nine of ten requests are refused. Each of them must cost so little that
the tenth keeps its latency.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aimic.errors import OverloadedError
from aimic.telemetry import request_id, sane_request_id
from aimic.web import PROBLEMS, problem_of

Form = Callable[[OverloadedError], Response]


class Shedding:
    """ASGI middleware around everything else. `door` raises OverloadedError while nothing more is taken.

    It stands before POSTs below the prefixes of `forms`, which say how a refusal is written there.
    """

    def __init__(
        self, app: ASGIApp, door: Callable[[], AbstractContextManager[None]], forms: Mapping[str, Form]
    ) -> None:
        self._app = app
        self._door = door
        self._forms = forms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        form = self._form_for(scope)
        if form is None:
            await self._app(scope, receive, send)
            return
        with ExitStack() as inside:
            try:
                inside.enter_context(self._door())
            except OverloadedError as error:
                await _turn_away(error, form, scope, receive, send)
            else:
                await self._app(scope, receive, send)

    def _form_for(self, scope: Scope) -> Form | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        return next((form for prefix, form in self._forms.items() if scope["path"].startswith(prefix)), None)


def problem(error: OverloadedError) -> Response:
    """The refusal as a problem document (RFC 9457)."""
    PROBLEMS.labels("inference", error.code).inc()
    return problem_of(error)


async def _turn_away(error: OverloadedError, form: Form, scope: Scope, receive: Receive, send: Send) -> None:
    current = sane_request_id(Headers(scope=scope).get("x-request-id", ""))
    token = request_id.set(current)
    try:
        answer = form(error)
        answer.headers["x-request-id"] = current
        await answer(scope, receive, send)
    finally:
        request_id.reset(token)
