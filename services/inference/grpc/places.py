"""A bound on the bytes of gRPC messages in memory, over all calls.

gRPC reads a message as soon as somebody waits for it, and tells its size when all of it is here. So a call needs a
place as large as the largest message before it may wait for one, and then keeps what the message really has.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from aimic.errors import OverloadedError
from services.inference.metrics import REJECTED

PATIENCE_S = 8.0
"""How long a call waits for a place."""
UPLOAD_S = 5.0
"""A call keeps its place so long for its first message while others wait: it may be large and on its way, since gRPC
tells nobody how much of it is here. Less than those others' patience, so that who sends nothing costs them a while."""
QUIET_S = 1.0
"""A stream that was answered and sends nothing more keeps its place so long while another waits to send something."""
LONG_QUIET_S = 10.0
"""And so long while another only waits in case its caller sends something: a stream."""


Waiting: TypeAlias = "deque[asyncio.Future[None]]"


class Caller:
    """A call, as far as it decides who has to give up a place."""

    def __init__(self) -> None:
        self.working = 0
        """Messages of it that are not answered yet."""
        self.was_answered = False
        self.quiet_since = 0.0

    def may_be_quiet_s(self, quiet_s: float) -> float:
        """How long it keeps a place while it sends no whole message, where who was answered has `quiet_s`."""
        return quiet_s if self.was_answered else max(quiet_s, UPLOAD_S)


class Place:
    """Room for one message: the largest, until it is here."""

    def __init__(self, places: "Places", caller: Caller, size: int) -> None:
        self.size = size
        self.caller = caller
        self._places = places
        self.is_filled = False
        self.limit: asyncio.Timeout | None = None
        """Ends the waiting for the message, while there is any."""

    def arrived(self, size: int) -> None:
        """The message is here."""
        self.is_filled = True
        self.caller.working += 1
        self._places._resize(self, size)

    def give_back(self) -> None:
        """It is answered, or doesn't come."""
        if self.is_filled:
            self.caller.working -= 1
            self.caller.was_answered = True
            self.caller.quiet_since = self._places.clock()
        self._places._resize(self, 0)


class Places:
    """Places for messages of up to `message` bytes, of `limit` bytes altogether (but always one)."""

    def __init__(self, limit: int, message: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._limit = limit
        self._message = message
        self._held = 0
        self._calls: Waiting = deque()
        self._streams: Waiting = deque()
        self._last: Waiting = self._streams
        """Whose turn was last. Calls and streams take turns: of streams any number may wait, for as long as they like,
        and calls that come without end must not keep a stream waiting for ever either."""
        self._reading: set[Place] = set()

    async def take(self, caller: Caller, *, streaming: bool) -> Place:
        """A place, in turn. OverloadedError when a call that isn't `streaming` waited in vain."""
        if self._calls or self._streams or not self._has_room():
            if streaming:
                await self._turn(self._streams, LONG_QUIET_S, math.inf)
            else:
                await self._turn(self._calls, QUIET_S, PATIENCE_S)
        else:
            self._held += self._message
        place = Place(self, caller, self._message)
        caller.quiet_since = self.clock()
        self._reading.add(place)
        return place

    def _has_room(self) -> bool:
        return not self._held or self._held + self._message <= self._limit

    async def _turn(self, queue: Waiting, quiet_s: float, patience_s: float) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        ends = self.clock() + patience_s
        try:
            while not turn.done():
                pause = min(ends - self.clock(), self._end_the_quiet(quiet_s))
                if self.clock() >= ends:
                    raise self._refusal()
                await asyncio.wait({turn}, timeout=max(pause, 0.01))
        except BaseException:
            self._leave(queue, turn)
            raise

    def _leave(self, queue: Waiting, turn: "asyncio.Future[None]") -> None:
        if turn.done():  # it came at the moment when nobody waited any more
            self._free(self._message)
        else:
            turn.cancel()
            queue.remove(turn)

    def _end_the_quiet(self, quiet_s: float) -> float:
        """Take its place from the call that was quiet the longest, if that was too long; seconds until one's will be.

        Too long is `quiet_s` for who was answered before. Who has messages in work is not quiet: it waits for us.
        """
        quiet = [place for place in self._reading if place.limit is not None and not place.caller.working]
        if not quiet:
            return QUIET_S
        ends = {place: place.caller.quiet_since + place.caller.may_be_quiet_s(quiet_s) for place in quiet}
        first = min(quiet, key=ends.__getitem__)
        left = ends[first] - self.clock()
        if left <= 0 and first.limit is not None:
            first.limit.reschedule(asyncio.get_running_loop().time())
            self._reading.discard(first)  # not twice; it holds its bytes until it is really over
        return max(left, QUIET_S / 10)

    def _resize(self, place: Place, size: int) -> None:
        self._reading.discard(place)
        freed, place.size = place.size - size, size
        self._free(freed)

    def _free(self, size: int) -> None:
        self._held -= size
        while (self._calls or self._streams) and self._has_room():
            other = self._streams if self._last is self._calls else self._calls
            self._last = other or self._last
            turn = self._last.popleft()
            self._held += self._message
            turn.set_result(None)

    def _refusal(self) -> OverloadedError:
        REJECTED.labels("overloaded").inc()
        return OverloadedError("Too many messages come in at once; ask again in a moment.", retry_after_s=1)
