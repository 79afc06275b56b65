"""Server-sent events from the records: a stream polls, and is woken when this or another process wrote something."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse

from aimic.errors import UnavailableError

logger = logging.getLogger(__name__)

MOST_STREAMS = 256
"""Open at once in one process; each asks the records every POLL_S."""
POLLS_AT_ONCE = 8
"""Threads for that, apart from those of requests: streams that wait for slow records are in nobody's way."""
AWAY_PAUSE_S = 2.0
AWAY_S = 60.0
"""Seconds for which a stream is kept open while the records are away; then its reader comes again, and is told why."""
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
        # Re-entrant: the handler of SIGTERM calls `stop` on the event loop's thread, which may hold it at that moment.
        self._lock = threading.RLock()
        self._waiters: dict[str, set[Waiter]] = {}
        self.polls = CapacityLimiter(POLLS_AT_ONCE)
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

    def listening(self) -> int:
        """How many wait."""
        with self._lock:
            return sum(map(len, self._waiters.values()))

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
    """A response that sends `poll(position)` again and again, woken by `signals.notify(key)`, until it is over.

    UnavailableError when too many streams are open.
    """
    if signals.listening() >= MOST_STREAMS:
        raise UnavailableError("Too many people and programs follow progress at once. Nothing is lost; try again soon.")

    async def events() -> AsyncIterator[ServerSentEvent]:
        position, away_since = after, None
        with signals.listen(key) as waiter:
            while not signals.stopping.is_set():
                try:
                    batch = await to_thread.run_sync(poll, position, limiter=signals.polls)
                except UnavailableError as error:
                    away_since = away_since or time.monotonic()
                    if time.monotonic() - away_since > AWAY_S:
                        logger.info("an event stream ends", extra={"reason": error.message})
                        return
                    await waiter.wait(AWAY_PAUSE_S)
                    continue
                away_since = None
                for event in batch.events:
                    yield event
                position = batch.position
                if batch.over:
                    return
                await waiter.wait(POLL_S)

    return EventSourceResponse(events(), ping=PING_S)
