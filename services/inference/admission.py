"""Who may come in: bounds on what waits, so that those who were taken keep their latency."""

from collections.abc import Iterator
from contextlib import contextmanager

from aimic.errors import OverloadedError
from services.inference.deadline import Deadline
from services.inference.metrics import IN_FLIGHT, REJECTED

_SMOOTHING = 0.1
_FIRST_GUESS_S = 0.02


class Admission:
    """Counts the images between admission and answer, and knows about how long one takes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._images = 0
        self._image_s = _FIRST_GUESS_S

    @contextmanager
    def admit(self, images: int, deadline: Deadline) -> Iterator[None]:
        """Hold room for `images`; OverloadedError when there is none, or no hope of meeting the deadline."""
        wait = self._images * self._image_s
        if self._images and (self._images + images > self._limit or wait > deadline.remaining()):
            REJECTED.labels("overloaded").inc()
            raise OverloadedError(
                f"{self._images} images are waiting already, so yours were not taken. Ask again in a moment.",
                retry_after_s=max(1.0, wait),
            )
        self._images += images
        IN_FLIGHT.set(self._images)
        try:
            yield
        finally:
            self._images -= images
            IN_FLIGHT.set(self._images)

    def learned(self, seconds: float) -> None:
        """One image's share of a batch's time on the network."""
        self._image_s += _SMOOTHING * (seconds - self._image_s)


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
