"""What the front is made of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute

from aimic.auth import Authenticator
from aimic.web import RequestContext, install_problem_handlers
from services.local.front.proxy import Proxy
from services.local.front.routing import Routes
from services.local.settings import LocalSettings

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_app(settings: LocalSettings) -> Starlette:
    """The front as an ASGI application."""
    proxy = Proxy(Routes(settings), Authenticator(settings))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await proxy.close()

    app = Starlette(
        routes=[
            Route("/{path:path}", proxy.http, methods=_METHODS),
            WebSocketRoute("/{path:path}", proxy.websocket),
        ],
        middleware=[Middleware(RequestContext, service="front")],
        lifespan=lifespan,
    )
    install_problem_handlers(app, "front")
    return app
