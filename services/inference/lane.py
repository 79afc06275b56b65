"""Where networks run: a thread apart from the event loop, on which models take turns by the time that they use."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from services.inference.metrics import THREADS_LEFT

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
_Call = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class StuckError(Exception):
    """A call did not come back in time. It may still go on, on a thread that nobody waits for any more."""


class Worker:
    """A thread for calls that may never come back. A daemon, so that one of those doesn't keep the process."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        Thread(target=_serve, args=(self._calls,), name=name, daemon=True).start()

    def run(self, work: Callable[[], Result]) -> "asyncio.Future[Result]":
        """The result of `work`, later. To cancel the future means not to care; the call goes on."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._calls.put((work, future))
        return future

    def retire(self) -> None:
        """End after the calls that were given, whenever that is."""
        self._calls.put(None)


def _serve(calls: "SimpleQueue[_Call | None]") -> None:
    while (call := calls.get()) is not None:
        _answer(*call)
        del call  # else the last batch stays in memory until the next one comes


def _answer(work: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
    try:
        result, error = work(), None
    except Exception as failed:
        result, error = None, failed
    with suppress(RuntimeError):  # the event loop is closed: nobody waits
        future.get_loop().call_soon_threadsafe(_tell, future, result, error)


def _tell(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


@dataclass(slots=True, eq=False)
class Account:
    """What one model has used of the lane, in seconds on the lane's own clock."""

    used: float = 0.0


class Lane:
    """One batch at a time. Of the models that wait, the one that used least has the next turn.

    So a small model waits for one batch of a large one and not for its queue (start-time fair queueing, Goyal et al.
    1996). Who comes back after a rest starts level with the others: rest can't be saved up.
    """

    def __init__(self) -> None:
        self._worker = Worker("network")
        self._clock = 0.0
        self._busy = False
        self._waiting: list[tuple[Account, asyncio.Future[None]]] = []

    @property
    def wanted(self) -> bool:
        """Whether another model waits for its turn."""
        return any(not future.done() for _, future in self._waiting)

    @asynccontextmanager
    async def turn(self, account: Account) -> AsyncIterator[None]:
        """Have the lane to oneself within the block; the time is put on `account`."""
        account.used = max(account.used, self._clock)
        if self._busy:
            await self._wait(account)
        self._busy = True
        self._clock = account.used
        started = time.monotonic()
        try:
            yield
        finally:
            account.used += time.monotonic() - started
            self._pass_on()

    async def run(self, work: Callable[[], Result], patience_s: float, interrupted: "asyncio.Future[None]") -> Result:
        """The result of `work`, run on the lane's thread. Only for who has the turn.

        StuckError when it is not there after `patience_s`, or once `interrupted` is done: the thread is then left to
        itself and another takes its place, as it is when the caller is cancelled.
        """
        call = self._worker.run(work)
        try:
            await asyncio.wait((call, interrupted), timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not call.done():
                self._leave(call)
        if call.cancelled():
            raise StuckError
        return call.result()

    def close(self) -> None:
        """End the thread once it is free."""
        self._worker.retire()

    def _leave(self, call: "asyncio.Future[Any]") -> None:
        logger.warning("a network's call was given up; another thread takes over")
        THREADS_LEFT.inc()
        call.cancel()
        self._worker.retire()
        self._worker = Worker("network")

    async def _wait(self, account: Account) -> None:
        entry = (account, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            await entry[1]
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            else:
                self._pass_on()  # the turn came in the moment in which we left
            raise

    def _pass_on(self) -> None:
        # A moment later: who just had a turn and has more to do shall be weighed with the others.
        asyncio.get_running_loop().call_soon(self._choose)

    def _choose(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].done()]
        self._busy = bool(waiting)
        if waiting:
            following = min(waiting, key=lambda entry: entry[0].used)
            self._waiting.remove(following)
            following[1].set_result(None)
