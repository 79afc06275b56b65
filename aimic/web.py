"""What every HTTP service shares: request ids, problem details (RFC 9457), metrics, the operations port."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import uvicorn
from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aimic import tracing
from aimic.errors import AimicError, InvalidInputError
from aimic.telemetry import exemplar, request_id, sane_request_id, service_name

logger = logging.getLogger(__name__)

REQUEST_SECONDS = Histogram(
    "aimic_http_request_duration_seconds",
    "Time from the first byte of a request to the last of its answer",
    ["service", "method", "route", "status"],
)
COME_AGAIN = frozenset({429, 503, 507})
"""Answers that always say, in Retry-After, when asking again is worth it."""
_USUAL_RETRY_S = 5
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBLEMS = Counter("aimic_http_problems_total", "Error answers by code", ["service", "code"])
READY = Gauge("aimic_ready", "1 while the process says that it is ready for work, else 0", ["service"])


class RequestContext:
    """ASGI middleware: gives each request an id (the caller's, when it is sane), traces it, measures it, logs it."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        current = sane_request_id(headers.get("x-request-id", ""))
        token = request_id.set(current)
        facts = {"http.request.method": _method(scope), "aimic.request_id": current}
        try:
            with tracing.span(_method(scope), headers.get("traceparent", ""), "server", facts) as span:
                await self._handle(scope, receive, send, span)
        finally:
            request_id.reset(token)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, span: tracing.Span) -> None:
        current = request_id.get()
        status = 0
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = current
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            # Here and not in an exception handler: those run outside of us, where the request has no id any more.
            logger.exception("unforeseen error")
            PROBLEMS.labels(self.service, "internal").inc()
            if status:
                raise  # the answer had begun; breaking it off is all that is left
            await unforeseen()(scope, receive, send_with_id)
        finally:
            self._report(scope, status, time.perf_counter() - started, span)

    def _report(self, scope: Scope, status: int, seconds: float, span: tracing.Span) -> None:
        # The route's template, not the path: a path would make a metric per id.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = _method(scope)
        REQUEST_SECONDS.labels(self.service, method, route, str(status)).observe(seconds, exemplar())
        span.rename(f"{method} {route}")
        span.note({"http.route": route, "http.response.status_code": status})
        if not status or status >= 500:
            span.failed(str(status or "no answer"))
        more = {"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
        logger.info("request", extra=more)


def _method(scope: Scope) -> str:
    # Callers may invent methods; a metric per invention would grow without bound.
    return scope["method"] if scope["method"] in _METHODS else "other"


def problem(status: int, code: str, title: str, detail: str, **more: Any) -> JSONResponse:
    """An RFC 9457 problem document."""
    body = {
        "type": f"urn:aimic:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id.get(),
        **more,
    }
    headers = {"retry-after": str(_USUAL_RETRY_S)} if status in COME_AGAIN else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def problem_of(error: AimicError) -> JSONResponse:
    """The problem document of one of our errors."""
    answer = problem(error.status, error.code, error.title, error.message, details=error.details)
    if error.retry_after_s is not None:
        answer.headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    return answer


def begun(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, the first one fetched now.

    A streamed answer has its status before its first piece: without this, a store that is away would be told by
    breaking off a 200.
    """
    return chain((next(pieces, b""),), pieces)


def unforeseen() -> JSONResponse:
    """What a caller is told of an error that we did not foresee: nothing of its inside."""
    return problem(
        500,
        AimicError.code,
        AimicError.title,
        "Nothing you sent is lost that was acknowledged. Try again; if it stays, give support the request id.",
    )


def install_problem_handlers(app: Starlette, service: str) -> None:
    """Every error that routes raise becomes a problem document; RequestContext answers what nobody foresaw."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, AimicError)
        PROBLEMS.labels(service, error.code).inc()
        return problem_of(error)

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        PROBLEMS.labels(service, "http").inc()
        answer = problem(error.status_code, "http", str(error.detail), str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    async def validation(_: Request, error: Exception) -> Response:
        issues: list[dict[str, Any]] = getattr(error, "errors", list)()
        words = "; ".join(f"{'.'.join(str(p) for p in i['loc'][1:])}: {i['msg']}" for i in issues[:5])
        return problem_of(InvalidInputError(words or "The request is not valid."))

    app.add_exception_handler(AimicError, ours)
    app.add_exception_handler(HTTPException, http)
    try:
        from fastapi.exceptions import RequestValidationError
    except ImportError:  # a service without FastAPI has no such error
        return
    app.add_exception_handler(RequestValidationError, validation)


def _nothing_away() -> dict[str, str]:
    return {}


def _always() -> None:
    return None


def operations_app(
    ready: Callable[[], str | None],
    away: Callable[[], dict[str, str]] = _nothing_away,
    alive: Callable[[], str | None] = _always,
) -> Starlette:
    """`/healthz` (`alive()` is None, else the reason), `/readyz` (`ready()` is None, else the reason), `/metrics`.

    `/readyz` also names the servers that are `away()`, each with a sentence. None of the three may wait for one.
    `/metrics` is Prometheus' text, or OpenMetrics, which has exemplars, for those that ask for it by Accept.
    """

    async def healthz(_: Request) -> Response:
        if (stopped := alive()) is not None:
            return JSONResponse({"status": "not alive", "reason": stopped}, 503)
        return JSONResponse({"status": "ok"})

    def readyz(_: Request) -> Response:
        reason = ready()
        missing = {"away": found} if (found := away()) else {}
        if reason is None:
            return JSONResponse({"status": "ready", **missing})
        return JSONResponse({"status": "not ready", "reason": reason, **missing}, 503)

    def metrics(request: Request) -> Response:
        READY.labels(service_name()).set(ready() is None)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), media_type=content_type)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


class OperationsServer:
    """The operations port, on a thread of its own so that a busy service still answers its probes."""

    def __init__(
        self,
        host: str,
        port: int,
        ready: Callable[[], str | None],
        away: Callable[[], dict[str, str]] = _nothing_away,
        alive: Callable[[], str | None] = _always,
    ) -> None:
        app = operations_app(ready, away, alive)
        config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False)
        self._server = uvicorn.Server(config)
        self._address = (host, port)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer; SystemExit in words when the port can't be had."""
        # Bound here, not on the thread: without its probes the process must not go on, and nobody would know why.
        bound = [_listening(*self._address)]
        self._thread = threading.Thread(target=self._server.run, args=(bound,), name="operations", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop answering, within a few seconds."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(5)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise SystemExit(
            f"The operations port {port} of {host} can't be had ({error.strerror}). "
            "End the program that uses it, or set another AIMIC_…_OPS_PORT. Nothing was started."
        ) from None
