"""What tus 1.0.0 asks of every exchange: the version in each answer, and methods that a proxy would not let through."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

VERSION = "1.0.0"


class TusExchange:
    """ASGI middleware for paths below `prefix`.

    Tus-Resumable goes on every answer, also on refusals; X-HTTP-Method-Override is the method where it is given,
    since some environments let nothing but GET and POST out.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or not scope["path"].startswith(self.prefix):
            await self.app(scope, receive, send)
            return
        if method := Headers(scope=scope).get("x-http-method-override"):
            scope["method"] = method.upper()

        async def versioned(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["tus-resumable"] = VERSION
            await send(message)

        await self.app(scope, receive, versioned)
