"""No request body beyond its limit, whether it says its length or not, and not too much of all together in memory."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aimic.errors import AimicError, TooLargeError, UnavailableError
from aimic.web import problem_of

TOGETHER = 8
"""So many bodies of the largest size may be in memory at once."""


class Held:
    """Bytes of all bodies that this process holds now."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._now = 0

    def take(self, size: int) -> bool:
        """Hold more; whether there is room for it."""
        self._now += size
        return self._now <= self._most

    def give(self, size: int) -> None:
        """Let go."""
        self._now -= size


class BodyLimit:
    """ASGI middleware: 413 for a body over `limit` bytes, 503 where it finds no room beside the others; paths under
    `exempt` have limits of their own."""

    def __init__(self, app: ASGIApp, limit: int, exempt: str) -> None:
        self.app = app
        self.limit = limit
        self.exempt = exempt
        self._held = Held(TOGETHER * limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["path"].startswith(self.exempt):
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdigit() or int(length) > self.limit:
            await problem_of(self._error())(scope, receive, send)
            return
        body = _Counted(receive, self.limit, self._error(), self._held)
        try:
            await self.app(scope, body.receive, body.answers(send))
        except (TooLargeError, UnavailableError):
            if body.answered:
                raise
        finally:
            body.let_go()
        if body.refused and not body.answered:
            await problem_of(body.refused)(scope, receive, send)

    def _error(self) -> TooLargeError:
        return TooLargeError(
            f"This request is larger than {self.limit // 2**20} MiB. Send images by upload (/api/v1/uploads)."
        )


class _Counted:
    """A body that ends in an error at its limit; what the application says then is not sent."""

    def __init__(self, receive: Receive, limit: int, error: TooLargeError, held: Held) -> None:
        self._receive, self._limit, self._error, self._held = receive, limit, error, held
        self._seen = 0
        self.refused: AimicError | None = None
        self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        size = len(message.get("body", b""))
        self._seen += size
        room = self._held.take(size)
        if self._seen > self._limit:
            self.refused = self._error
        elif not room:
            self.refused = _CROWDED
        if self.refused:
            raise self.refused
        return message

    def let_go(self) -> None:
        self._held.give(self._seen)

    def answers(self, send: Send) -> Send:
        async def only_before(message: Message) -> None:
            if self.refused and not self.answered:
                return  # FastAPI's own words for a body that can't be read would be a 400
            self.answered = True
            await send(message)

        return only_before


_CROWDED = UnavailableError("Too many large requests came at once. Nothing of this one was done; try again shortly.")
