"""No request body beyond its limit, whether it says its length or not."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aimic.errors import TooLargeError
from aimic.web import problem_of


class BodyLimit:
    """ASGI middleware: 413 for a body over `limit` bytes; paths under `exempt` have limits of their own."""

    def __init__(self, app: ASGIApp, limit: int, exempt: str) -> None:
        self.app = app
        self.limit = limit
        self.exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["path"].startswith(self.exempt):
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > self.limit:
            await problem_of(self._error())(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise self._error()
            return message

        await self.app(scope, counted, send)

    def _error(self) -> TooLargeError:
        return TooLargeError(
            f"This request is larger than {self.limit // 2**20} MiB. Send images by upload (/api/v1/uploads)."
        )
