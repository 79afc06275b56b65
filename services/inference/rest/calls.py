"""What every call brings beside its body: who calls, and until when."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from aimic.auth import Authenticator, require
from aimic.domain.site import Permission, Principal
from aimic.errors import InvalidInputError
from services.inference.deadline import Deadline


def needs(authenticator: Authenticator, permission: Permission) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that gives the principal, or refuses."""

    # Not on a thread, as FastAPI would run it otherwise: it waits for nothing, and the way there and back costs more.
    async def principal(request: Request) -> Principal:
        who = authenticator.authenticate(request.headers)
        require(who, permission)
        return who

    return principal


def deadline_of(header: str | None, default_s: float, longest_s: float) -> Deadline:
    """From `X-Deadline-Ms`, milliseconds from the request's arrival; InvalidInputError for anything else."""
    if header is None:
        return Deadline.after(default_s)
    if not header.isascii() or not header.isdigit() or len(header) > 9 or int(header) == 0:
        raise InvalidInputError("X-Deadline-Ms must be a whole number of milliseconds above 0.")
    return Deadline.after(min(int(header) / 1000, longest_s))
