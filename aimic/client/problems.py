"""A problem document (RFC 9457) becomes the error it was on the server."""

import json
from typing import Any

import httpx

from aimic import errors


def _family(base: type[errors.AimicError]) -> list[type[errors.AimicError]]:
    found = [base]
    for child in base.__subclasses__():
        found += _family(child)
    return found


_FAMILY = _family(errors.AimicError)
_BY_CODE = {kind.code: kind for kind in _FAMILY}
# The most general class of a status: subclasses come after their base in the family, so the first one wins.
_BY_STATUS: dict[int, type[errors.AimicError]] = {}
for _kind in _FAMILY:
    _BY_STATUS.setdefault(_kind.status, _kind)
_PASSING = frozenset({503, 504, 507})
"""Not our fault and over by itself: nobody has to be asked."""
_BY_STATUS |= {400: errors.InvalidInputError, 410: errors.NotFoundError, 502: errors.UnavailableError}


def kind_of(code: str, otherwise: type[errors.AimicError] = errors.AimicError) -> type[errors.AimicError]:
    """The class of our errors with this code."""
    return _BY_CODE.get(code, otherwise)


def error_of(response: httpx.Response) -> errors.AimicError:
    """The error that an answer of status 400 and above (its body already read) tells of.

    `details` has the server's details, the HTTP status and, where there is one, the request id; a fault on the
    server's side also says the id in its message, since that is what a person gives to support.
    """
    body = _document(response)
    code = str(body.get("code") or "")
    kind = kind_of(code, _BY_STATUS.get(response.status_code, errors.AimicError))
    message = str(body.get("detail") or body.get("title") or _plain(response))
    request = str(body.get("request_id") or response.headers.get("x-request-id") or "")
    if response.status_code >= 500 and request and response.status_code not in _PASSING:
        message = f"{message} (request {request})"
    details = body.get("details")
    facts: dict[str, Any] = {str(k): v for k, v in details.items()} if isinstance(details, dict) else {}
    facts |= {"http_status": response.status_code}
    if request:
        facts["request_id"] = request
    facts.pop("message", None)
    facts.pop("retry_after_s", None)
    return kind(message, retry_after_s=retry_after(response), **facts)


def retry_after(response: httpx.Response) -> float | None:
    """Seconds of a Retry-After header, if it has any (the date form is not used by our services)."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return body if isinstance(body, dict) else {}


def _plain(response: httpx.Response) -> str:
    return f"The server at {response.request.url.host} answered {response.status_code} {response.reason_phrase}."
