"""Server-sent events from the records: a stream polls, and is woken when this or another process wrote something."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

POLL_S = 1.0
"""Seconds after which the records are asked anyway: a notification may be lost with its connection."""
PING_S = 15


class Waiter:
    """One who waits for a key; remembers a notification that came between two waits."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def wake(self) -> None:
        """From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Return at the next notification, or after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout_s)
        self._event.clear()


class Signals:
    """Wake-ups by key within this process. They carry nothing; the records do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[str, set[Waiter]] = {}
        self.stopping = threading.Event()

    @contextlib.contextmanager
    def listen(self, key: str) -> Iterator[Waiter]:
        """A waiter for `key`, until the end of the block."""
        waiter = Waiter()
        with self._lock:
            self._waiters.setdefault(key, set()).add(waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                self._waiters[key].discard(waiter)
                if not self._waiters[key]:
                    del self._waiters[key]

    def notify(self, key: str) -> None:
        """Wake whoever waits for `key`."""
        with self._lock:
            waiters = tuple(self._waiters.get(key, ()))
        for waiter in waiters:
            waiter.wake()

    def notify_all(self) -> None:
        """Wake everybody: something may have been missed."""
        with self._lock:
            waiters = [waiter for group in self._waiters.values() for waiter in group]
        for waiter in waiters:
            waiter.wake()

    def stop(self) -> None:
        """End every stream soon: the process is going."""
        self.stopping.set()
        self.notify_all()


@dataclass(frozen=True)
class Batch:
    """What a poll found: events in order, the position to go on from, and whether that was all for ever."""

    events: Sequence[ServerSentEvent]
    position: int
    over: bool


def sse(event: str, data: str, id: int | None = None) -> ServerSentEvent:
    """One server-sent event; `data` is one JSON document."""
    return ServerSentEvent(data=data, event=event, id=None if id is None else str(id))


def stream(poll: Callable[[int], Batch], after: int, signals: Signals, key: str) -> EventSourceResponse:
    """A response that sends `poll(position)` again and again, woken by `signals.notify(key)`, until it is over."""

    async def events() -> AsyncIterator[ServerSentEvent]:
        position = after
        with signals.listen(key) as waiter:
            while not signals.stopping.is_set():
                batch = await run_in_threadpool(poll, position)
                for event in batch.events:
                    yield event
                position = batch.position
                if batch.over:
                    return
                await waiter.wait(POLL_S)

    return EventSourceResponse(events(), ping=PING_S)
