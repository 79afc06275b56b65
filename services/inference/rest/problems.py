"""How errors look on the wire, for OpenAPI, and the one that nobody will read."""

from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from aimic.disconnect import CLIENT_CLOSED_REQUEST
from aimic.web import install_problem_handlers

_PROBLEM = {
    "application/problem+json": {
        "schema": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code", "request_id"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "code": {"type": "string"},
                "request_id": {"type": "string"},
                "details": {"type": "object"},
            },
        }
    }
}
_WORDS = {
    401: "No valid credential",
    403: "Not allowed",
    404: "No such model or version",
    413: "Over a limit",
    422: "Not an image, or not a valid request",
    429: "Busy; see Retry-After",
    503: "The model can't be used now; see Retry-After",
    504: "The deadline passed",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": _PROBLEM} for status, words in _WORDS.items()
}


def install(app: FastAPI) -> None:
    """Every error becomes a problem document (RFC 9457)."""
    install_problem_handlers(app, "inference")

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    app.add_exception_handler(ClientDisconnect, gone)
