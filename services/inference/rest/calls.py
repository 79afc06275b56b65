"""What every call brings beside its body: who calls, until when, and whether the caller is still there."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request

from aimic.auth import Authenticator, require
from aimic.domain.site import Permission, Principal
from aimic.errors import InvalidInputError
from services.inference.deadline import Deadline

Result = TypeVar("Result")


class CallerGoneError(Exception):
    """The caller closed the connection before the answer; nobody is there to be told."""


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


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, which is cancelled when the caller closes the connection (CallerGoneError).

    To be used after the whole body was read: the next message can then only be the disconnect.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnect(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise CallerGoneError
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
