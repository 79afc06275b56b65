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
        body = _Counted(receive, self.limit, self._error())
        try:
            await self.app(scope, body.receive, body.answers(send))
        except TooLargeError:
            if body.answered:
                raise
        if body.over and not body.answered:
            await problem_of(self._error())(scope, receive, send)

    def _error(self) -> TooLargeError:
        return TooLargeError(
            f"This request is larger than {self.limit // 2**20} MiB. Send images by upload (/api/v1/uploads)."
        )


class _Counted:
    """A body that ends in an error at its limit; what the application says then is not sent."""

    def __init__(self, receive: Receive, limit: int, error: TooLargeError) -> None:
        self._receive, self._limit, self._error = receive, limit, error
        self._seen = 0
        self.answered = False

    @property
    def over(self) -> bool:
        return self._seen > self._limit

    async def receive(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self.over:
            raise self._error
        return message

    def answers(self, send: Send) -> Send:
        async def only_before(message: Message) -> None:
            if self.over and not self.answered:
                return  # FastAPI's own words for a body that can't be read would be a 400
            self.answered = True
            await send(message)

        return only_before
