"""Who may open the dashboard. It acts with the installation's own key, so everybody is asked for it first."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aimic.auth import Authenticator
from aimic.errors import AimicError, ForbiddenError, NotAuthenticatedError
from aimic.web import problem_of

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


class Doorkeeper:
    """ASGI middleware: a valid credential, or (without a key) this machine and its own pages only."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or websocket."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        try:
            self._authenticator.authenticate(Headers(scope=scope))
            _same_origin(scope)
        except AimicError as error:
            await _refuse(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _same_origin(scope: Scope) -> None:
    """Refuse another site's page, which a browser would lend the key that it remembers.

    An Origin that passed is replaced by one that Streamlit knows: for any other it would ask a server on the
    internet for this machine's address.
    """
    headers = MutableHeaders(scope=scope)
    origin = headers.get("origin")
    if origin is None:
        return
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    if urlsplit(origin).hostname not in _THIS_MACHINE | {host}:
        raise ForbiddenError(f"A page of {origin} may not use this dashboard.")
    headers["origin"] = "http://localhost"


def _refuse(error: AimicError) -> Response:
    answer = problem_of(error)
    if isinstance(error, NotAuthenticatedError):
        answer.headers["www-authenticate"] = 'Basic realm="AIMIC: any name, the API key as password"'
    return answer
