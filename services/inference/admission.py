"""Who may come in: bounds on how long what is taken has to wait, so that those who were taken keep their latency."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aimic.errors import OverloadedError
from services.inference.deadline import Deadline
from services.inference.metrics import IN_FLIGHT, REJECTED

_TARGET_S, _TARGET_IMAGES = 0.05, 12
"""What may stand in the queue for good: this many seconds, or where that is more, this many images. It keeps the
network at work; more only makes everybody wait longer."""
_BURST = 2.0
"""A burst may make others wait so many times as long, since it passes. No longer: overload begins as a burst does, and
whoever came in then must not be the slowest hundredth."""
_PATIENCE_S = 0.2
"""A queue that stays above the target for longer than this is no burst."""
_CALM_S = 5.0
"""Overload is over when nobody was turned away for so long: callers who come again after a while are still there."""
_ON_THE_WAY_S = 0.1
"""Who passed the door is expected to be admitted so soon. Whoever takes longer, to send a large body, say, holds up
nobody at the door."""
_MEMORY = 0.98
_MOST_RETRY_S = 30.0

_ticket: ContextVar[int] = ContextVar("ticket", default=0)
"""Of the request at hand: given at the door, taken when it is admitted."""


class Room:
    """The place of one request among all that are being answered."""

    def __init__(self, admission: "Admission", images: int) -> None:
        self.images = images
        self.image_s = 0.0
        self._admission = admission

    def work(self, image_s: float, deadline: Deadline) -> None:
        """It needs the network for `image_s` seconds an image. OverloadedError if it had to wait too long for that."""
        self._admission.begin(self, image_s, deadline)

    def answered(self) -> None:
        """Its images are through: from that we learn how fast we are."""
        self._admission.learn(self)


class Admission:
    """Counts the images between admission and answer, and knows about how long they will take.

    Requests take turns image by image, so that one of n images waits for n images at most of every other. A queue
    may grow for a burst; one that stands is cut to what keeps the network at work (after CoDel, RFC 8289).
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._images = 0
        self._rooms: set[Room] = set()
        self._singles = 0.0
        """Seconds for one image of each room."""
        self._tickets = itertools.count(1)
        self._on_the_way: dict[int, float] = {}
        """Tickets of those who passed the door and are not admitted yet, and since when, the oldest first."""
        # Seconds that passed, and seconds that the networks said they need: their ratio is what all the rest costs.
        # They begin as if two seconds had been seen, so that one hiccup at the start doesn't count for all.
        self._passed = self._needed = 2.0
        self._since = clock()
        self._above_since: float | None = None
        self._overloaded = False
        self._refused_at = clock()

    @contextmanager
    def room(self, images: int) -> Iterator[Room]:
        """Hold room for `images`; OverloadedError when there is none."""
        if self._images and self._images + images > self._limit:
            raise self._refusal()
        room = Room(self, images)
        self._images += images
        IN_FLIGHT.set(self._images)
        try:
            yield room
        finally:
            self._leave(room)
            self._images -= images
            IN_FLIGHT.set(self._images)
            self._look()

    @contextmanager
    def door(self) -> Iterator[None]:
        """Around a request, before anything is spent on it; OverloadedError when any would be turned away.

        Those who came in the same moment count as well: each of them would be read for nothing.
        """
        if self._rooms:
            self._look()
            image_s = max(room.image_s for room in self._rooms)
            most = self._target(image_s) * (1 if self._overloaded else _BURST)
            if self._wait(1) + self._stretch * image_s * self._arriving() > most:
                raise self._refusal()
        ticket = next(self._tickets)
        self._on_the_way[ticket] = self._clock()
        _ticket.set(ticket)
        try:
            yield
        finally:
            self._on_the_way.pop(ticket, None)

    def begin(self, room: Room, image_s: float, deadline: Deadline) -> None:
        """See Room.work."""
        came_by_the_door = self._on_the_way.pop(_ticket.get(), None) is not None
        self._look()
        if self._rooms:
            own = self._stretch * room.images * image_s
            # By the slowest of all, as the wait is: a quick model's request may stand behind those of a slow one.
            slowest = max(image_s, *(room.image_s for room in self._rooms))
            # gRPC has no door: its calls must not overtake those who stand there.
            wait = self._wait(room.images) + (0 if came_by_the_door else self._stretch * slowest * self._arriving())
            most = self._target(slowest) * (1 if self._overloaded else _BURST)
            # A large request may wait as long as it works: it waits for more of each of the others.
            if wait > most + own - self._stretch * image_s or wait + own > deadline.remaining():
                raise self._refusal()
        else:
            self._since = self._clock()
        room.image_s = image_s
        self._rooms.add(room)
        self._singles += image_s

    def learn(self, room: Room) -> None:
        """See Room.answered."""
        now = self._clock()
        self._passed = self._passed * _MEMORY + now - self._since
        self._needed = self._needed * _MEMORY + room.images * room.image_s
        self._since = now

    def _leave(self, room: Room) -> None:
        self._rooms.discard(room)
        # Anew from nothing, so that what rounding leaves behind doesn't add up.
        self._singles = self._singles - room.image_s if self._rooms else 0.0

    @property
    def _stretch(self) -> float:
        return min(5.0, max(0.5, self._passed / max(self._needed, 1e-9)))

    def _wait(self, images: int) -> float:
        """Seconds until a request of `images` is through with what it shares turns with."""
        if images == 1:
            return self._stretch * self._singles
        return self._stretch * sum(room.image_s * min(room.images, images) for room in self._rooms)

    def _arriving(self) -> int:
        """How many passed the door a moment ago and are not admitted yet."""
        before = self._clock() - _ON_THE_WAY_S
        while self._on_the_way and self._on_the_way[oldest := next(iter(self._on_the_way))] < before:
            del self._on_the_way[oldest]
        return len(self._on_the_way)

    def _target(self, image_s: float) -> float:
        return max(_TARGET_S, _TARGET_IMAGES * self._stretch * image_s)

    def _look(self) -> None:
        """Whether the queue stands."""
        now, wait, target = self._clock(), self._wait(1), _TARGET_S
        if wait > target or self._overloaded:
            target = self._target(max((room.image_s for room in self._rooms), default=0.0))
        if wait <= target:
            self._above_since = None
            self._overloaded = self._overloaded and now - self._refused_at < _CALM_S
        elif self._above_since is None:
            self._above_since = now
        elif now - self._above_since > _PATIENCE_S and not self._overloaded:
            self._overloaded, self._refused_at = True, now

    def _refusal(self) -> OverloadedError:
        REJECTED.labels("overloaded").inc()
        self._refused_at = self._clock()
        work = self._stretch * sum(room.image_s * room.images for room in self._rooms)
        return OverloadedError(
            f"{self._images} images are waiting already, so yours were not taken. Ask again in a moment.",
            retry_after_s=min(_MOST_RETRY_S, max(1.0, work)),
        )


class ByteBudget:
    """Bytes of request bodies that may be in memory at once, over all requests."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def take(self, size: int) -> None:
        """Hold `size` more bytes; OverloadedError when that is too much."""
        if self._held + size > self._limit:
            REJECTED.labels("overloaded").inc()
            raise OverloadedError("Too many uploads at once; ask again in a moment.", retry_after_s=1)
        self._held += size

    def give_back(self, size: int) -> None:
        """`size` bytes were let go."""
        self._held -= size
