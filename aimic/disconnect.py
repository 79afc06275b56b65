"""A caller may leave before the answer is there; what is done for it then ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

CLIENT_CLOSED_REQUEST = 499
"""As nginx logs it: there is no standard status, since nobody is left to read it."""
Result = TypeVar("Result")


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result], read: asyncio.Event | None = None) -> Result:
    """The result of `work`, which is cancelled when the caller closes the connection (ClientDisconnect).

    To be used after the whole body was read, since only then the next message can but be the disconnect; where `work`
    itself reads it, it sets `read` when it has.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request, read))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request, read: asyncio.Event | None) -> None:
    if read is not None:
        await read.wait()
    while (await request.receive())["type"] != "http.disconnect":
        pass
