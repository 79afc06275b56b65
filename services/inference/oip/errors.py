"""Errors in the protocol's REST form: an HTTP status and `{"error": "…"}`."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from aimic.errors import AimicError, InvalidInputError
from aimic.telemetry import request_id
from aimic.web import PROBLEMS, problem_of
from services.inference.oip.schemas import ProtocolError
from services.inference.unforeseen import unforeseen

_WORDS = {
    400: "Not an image, or not a valid request",
    401: "No valid credential",
    403: "Not allowed",
    404: "No such model, version or path",
    413: "Over a limit",
    429: "Busy; see Retry-After",
    503: "The model can't be used now; see Retry-After",
    504: "The deadline passed",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "model": ProtocolError} for status, words in _WORDS.items()
} | {"4XX": {"description": "Any other mistake in the request", "model": ProtocolError}}


class ProtocolRoute(APIRoute):
    """A route whose errors have the protocol's form, whoever raises them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler within that."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except ClientDisconnect:
                raise
            except Exception as error:
                return refusal(error)

        return answer


def refusal(error: Exception) -> Response:
    """Status, `Retry-After` and the plain sentence are those of our problem documents; the form is the protocol's.

    Beside its `error`, which clients of the protocol read, stand the code and the request id of all our errors.
    """
    known = _known(error)
    PROBLEMS.labels("inference", known.code).inc()
    status = 400 if known.status == 422 else known.status  # what the protocol calls typical, and its clients expect
    wait = problem_of(known).headers.get("retry-after")
    body = {"error": known.message, "code": known.code, "request_id": request_id.get()}
    return JSONResponse(body, status, {"retry-after": wait} if wait else None)


def _known(error: Exception) -> AimicError:
    if isinstance(error, AimicError):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidInputError("; ".join(f"{issue['loc'][-1]}: {issue['msg']}" for issue in error.errors()[:5]))
    return unforeseen(error)
