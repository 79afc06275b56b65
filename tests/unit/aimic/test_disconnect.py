"""Work for a caller who may leave."""

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from aimic.disconnect import unless_gone

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Caller:
    """Sends pieces of a body, and leaves when it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self.left = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)
        self._pieces = list(pieces)

    async def _receive(self) -> Any:
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """Goes on until it is told what to answer."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.begun.set()
        return await self.answer


async def test_a_caller_who_stays_gets_the_result_or_the_error() -> None:
    work, other, caller = Work(), Work(), Caller()
    work.answer.set_result("done")
    assert await unless_gone(caller.request, work()) == "done"
    other.answer.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await unless_gone(caller.request, other())


async def test_what_is_done_when_the_caller_leaves_ends() -> None:
    work, caller = Work(), Caller()
    answering = asyncio.create_task(unless_gone(caller.request, work()))
    await work.begun.wait()
    caller.left.set()
    with pytest.raises(ClientDisconnect):
        await answering
    assert work.answer.cancelled()


async def test_an_answer_that_is_there_when_the_caller_leaves_counts() -> None:
    work, caller = Work(), Caller()
    caller.left.set()
    work.answer.set_result("done")
    assert await unless_gone(caller.request, work()) == "done"


async def test_who_is_cancelled_leaves_no_work_behind() -> None:
    work, caller = Work(), Caller()
    answering = asyncio.create_task(unless_gone(caller.request, work()))
    await work.begun.wait()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert work.answer.cancelled()


async def test_the_body_belongs_to_the_work_that_reads_it() -> None:
    caller, read = Caller(b"a", b"b", b"c"), asyncio.Event()

    async def work() -> bytes:
        found = []
        async for piece in caller.request.stream():
            found.append(piece)
            await asyncio.sleep(0)  # whoever else asked for a message would get the next one
        return b"".join(found)

    assert await unless_gone(caller.request, work(), read) == b"abc"


async def test_who_leaves_once_the_body_was_read_ends_the_work() -> None:
    caller, read, work = Caller(b"a", b"b"), asyncio.Event(), Work()

    async def reading() -> str:
        assert await caller.request.body() == b"ab"
        read.set()
        return await work()

    answering = asyncio.create_task(unless_gone(caller.request, reading(), read))
    await work.begun.wait()
    caller.left.set()
    with pytest.raises(ClientDisconnect):
        await answering
    assert work.answer.cancelled()
