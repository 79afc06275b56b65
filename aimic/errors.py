"""One hierarchy of errors. Each class maps to one HTTP status, one gRPC code and a plain sentence.

The message says what happened, what was kept and what to do; it is written for the person at the page.
"""

from typing import Any, ClassVar


class AimicError(Exception):
    """The base. `message` is a plain sentence; `details` are facts for a program."""

    status: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"
    usual_retry_s: ClassVar[float | None] = None
    """Seconds to wait before asking again, where whoever raises it knows no better; None: waiting won't help."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = self.usual_retry_s if retry_after_s is None else retry_after_s
        self.details = details


class InvalidInputError(AimicError):
    """The request can't be carried out as it stands; nothing was changed."""

    status, grpc_code, code, title = 422, "INVALID_ARGUMENT", "invalid_input", "This can't be done as asked"


class UnreadableImageError(InvalidInputError):
    """Bytes that are no image we read, or an image beyond the limits."""

    code, title = "unreadable_image", "This file can't be read as an image"


class NotAuthenticatedError(AimicError):
    """No valid credential."""

    status, grpc_code, code, title = 401, "UNAUTHENTICATED", "not_authenticated", "Please sign in"


class ForbiddenError(AimicError):
    """A valid credential without the permission."""

    status, grpc_code, code, title = 403, "PERMISSION_DENIED", "forbidden", "You may not do this"


class NotFoundError(AimicError):
    """There is no such thing at this site."""

    status, grpc_code, code, title = 404, "NOT_FOUND", "not_found", "Not found"


class ConflictError(AimicError):
    """The state of things does not allow it (now)."""

    status, grpc_code, code, title = (
        409,
        "FAILED_PRECONDITION",
        "conflict",
        "This doesn't fit the present state",
    )


class StaleFenceError(ConflictError):
    """A worker whose lease was given away tried to write; nothing it sent was taken."""

    code, title = "stale_fence", "This task was given to another worker"


class TooLargeError(AimicError):
    """Over a limit on size or number."""

    status, grpc_code, code, title = 413, "RESOURCE_EXHAUSTED", "too_large", "This is too large"


class OverloadedError(AimicError):
    """Busy; the caller should come again after `retry_after_s`."""

    status, grpc_code, code, title = 429, "RESOURCE_EXHAUSTED", "overloaded", "Too busy right now"
    usual_retry_s = 2.0


class UnavailableError(AimicError):
    """A part we need is away; the caller should come again after `retry_after_s`."""

    status, grpc_code, code, title = 503, "UNAVAILABLE", "unavailable", "A part of the system is away"
    usual_retry_s = 5.0


class FullError(UnavailableError):
    """A server has no space left. What it acknowledged is kept; work goes on by itself once there is space."""

    code, title = "full", "There is no space left"
    usual_retry_s = 10.0


class DeadlineError(AimicError):
    """The caller's deadline passed before an answer."""

    status, grpc_code, code, title = 504, "DEADLINE_EXCEEDED", "deadline", "This took longer than you allowed"


class CorruptError(AimicError):
    """Bytes that do not match their hash, or a bundle whose check fails. It is not used."""

    status, grpc_code, code, title = 422, "DATA_LOSS", "corrupt", "The data is damaged"
