"""Bounds on what is spent on a server that is slow or away."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aimic.errors import FullError, UnavailableError


class Slots:
    """So many at once, so many that wait, each for so long; everybody else is sent away at once."""

    def __init__(self, at_once: int, waiting: int, patience_s: float) -> None:
        self._free = at_once
        self._room = waiting
        self._patience_s = patience_s
        self._changed = threading.Condition()

    def room(self) -> int:
        """How many more may come without being sent away."""
        with self._changed:
            return self._free + self._room

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a slot within the block; UnavailableError when there is none in time."""
        if not self._take():
            raise UnavailableError(
                "The object store answers too slowly for everybody who asks for it just now. What was acknowledged is "
                "kept and nothing of this request was done; try again shortly.",
            )
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify()

    def _take(self) -> bool:
        with self._changed:
            if self._free == 0:
                if self._room == 0:
                    return False
                self._room -= 1
                self._changed.wait_for(lambda: self._free > 0, self._patience_s)
                self._room += 1
            if self._free == 0:
                return False
            self._free -= 1
            return True


class Fuse:
    """After `most` failures in a row nobody tries for `pause_s`, then one; its success lets everybody try again.

    Without it, each caller of a server that is away would wait for the same time-out to hear the same.
    """

    def __init__(self, most: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = 0.0
        self._reason = ""

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Try within the block; UnavailableError at once, as the last one who tried heard it, while nobody may."""
        self._ask()
        try:
            yield
        except FullError:  # it answers, and whoever reads has no trouble
            self._heard(None)
            raise
        except UnavailableError as error:
            self._heard(error.message)
            raise
        except Exception:
            self._heard(None)
            raise
        self._heard(None)

    def _ask(self) -> None:
        with self._lock:
            if self._failures < self._most:
                return
            now = self._clock()
            if now < self._closed_until:
                raise UnavailableError(self._reason)
            self._closed_until = now + self._pause_s

    def _heard(self, reason: str | None) -> None:
        with self._lock:
            if reason is None:
                self._failures = 0
                return
            self._failures += 1
            self._reason = reason
            self._closed_until = self._clock() + self._pause_s
