"""So many requests at once, each begun to be answered in time: whatever hangs behind us, a caller hears of it.

Work that has begun can't be stopped in its thread. It goes on to its own end, counted until then, while its caller
is told to come again: what asks for something new does it once per Idempotency-Key, an upload goes on at its offset.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aimic.errors import AimicError, UnavailableError
from aimic.web import PROBLEMS, problem_of

STREAMS = re.compile(r"/events$")
"""Event streams last for hours and are counted on their own (progress.py)."""
_LOOK_S = 2.0
_A_MOMENT_S = 0.01
"""Beyond the limit, so that a look that comes at the limit finds it passed."""


@dataclass(frozen=True)
class Patience:
    """Seconds until an answer begins, and until the next bytes of a body come."""

    answer_s: float = 20.0
    slow_answer_s: float = 600.0
    """For what works through a whole data set, as long as no server that it needs is known to be away."""
    body_s: float = 60.0


class Admission:
    """ASGI middleware: 503 with Retry-After beyond `most` requests, and for an answer that doesn't begin in time.

    `slow` matches "METHOD /path" of requests that work through a whole data set before they answer; `away()` says
    whether a server that requests need is known to be away.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: str,
        most: int,
        slow: re.Pattern[str],
        away: Callable[[], bool],
        patience: Patience | None = None,
    ) -> None:
        self.app = app
        self._service = service
        self._most = most
        self._slow = slow
        self._away = away
        self._patience = patience or Patience()
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        streams = STREAMS.search(scope["path"])
        if len(self._running) >= self._most and not streams:
            await self._refuse(_BUSY, scope, receive, send)
            return
        call = _Call(receive, send, self._patience, self._away if self._is_slow(scope) else _hasty)
        task = asyncio.create_task(self._answer(scope, call))
        if not streams:
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        try:
            in_time = await call.begins(task)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if in_time:
            await task
            return
        task.add_done_callback(_looked_at)
        await self._refuse(_STALLED if call.receiving else _LATE, scope, receive, send)

    async def _answer(self, scope: Scope, call: "_Call") -> None:
        await self.app(scope, call.receive, call.send)

    def _is_slow(self, scope: Scope) -> bool:
        return self._slow.search(f"{scope['method']} {scope['path']}") is not None

    async def _refuse(self, error: AimicError, scope: Scope, receive: Receive, send: Send) -> None:
        PROBLEMS.labels(self._service, error.code).inc()
        await problem_of(error)(scope, receive, send)


class _Call:
    """One request: what it has got and given so far."""

    def __init__(self, receive: Receive, send: Send, patience: Patience, hopeless: Callable[[], bool]) -> None:
        self._receive, self._send = receive, send
        self._patience, self._hopeless = patience, hopeless
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._began = asyncio.Event()
        self._given_up = False
        self.receiving = False
        """Whether it is the caller whom we wait for."""

    async def begins(self, task: "asyncio.Task[None]") -> bool:
        """Wait for the first of the answer, or its end without one; False when it is late."""
        began = asyncio.create_task(self._began.wait())
        try:
            while not (task.done() or self._began.is_set()):
                if self._is_late():
                    self._given_up = True
                    return False
                await asyncio.wait({task, began}, timeout=self._look_s(), return_when=asyncio.FIRST_COMPLETED)
            return True
        finally:
            began.cancel()

    def _is_late(self) -> bool:
        passed = self._loop.time() - self._since
        if self.receiving:
            return passed > self._patience.body_s
        return passed > self._patience.slow_answer_s or (passed > self._patience.answer_s and self._hopeless())

    def _look_s(self) -> float:
        limit = self._patience.body_s if self.receiving else self._patience.answer_s
        return look_s(limit - (self._loop.time() - self._since), min(_LOOK_S, self._patience.answer_s / 10))

    async def receive(self) -> Message:
        self.receiving, self._since = True, self._loop.time()
        try:
            return await self._receive()
        finally:
            self.receiving, self._since = False, self._loop.time()

    async def send(self, message: Message) -> None:
        if self._given_up:
            return  # its caller has an answer already
        self._began.set()
        await self._send(message)


def look_s(left_s: float, often_s: float) -> float:
    """Seconds until the next look, `left_s` before it is late: a look long after that would add to a caller's wait."""
    return min(often_s, left_s + _A_MOMENT_S) if left_s > 0 else often_s


def _hasty() -> bool:
    """Of what should be quick."""
    return True


def _looked_at(task: "asyncio.Task[None]") -> None:
    """An error of a request that was given up was logged where it arose; asyncio need not say it again."""
    if not task.cancelled():
        task.exception()


_BUSY = UnavailableError(
    "More is asked of this server at once than it can hold. Nothing of this request was done; try again shortly."
)
_STALLED = UnavailableError(
    "Nothing more of what you send came for a minute. What came whole is kept; ask how far it is and send the rest."
)
_LATE = UnavailableError(
    "A server that this needs (database or object store) didn't answer in time. What was acknowledged is kept; what "
    "you asked for may still be done, once. Try again shortly."
)
