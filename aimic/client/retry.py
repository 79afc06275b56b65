"""How often and how long to try again, and telling whoever waits."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from aimic.errors import AimicError

MOST_S = 30.0
"""Longest single wait, whatever a server asks for."""


@dataclass(frozen=True)
class Wait:
    """Why it is waited, for how long, and what is safe already."""

    error: AimicError
    seconds: float
    safe: float | None = None
    """Of an upload: the share of its bytes that the server keeps."""

    @property
    def words(self) -> str:
        """One line for a person."""
        safe = "" if self.safe is None else f"; {self.safe:.0%} is safe"
        return f"{self.error.message} Trying again in {max(1, round(self.seconds))} s{safe}."


Waiting = Callable[[Wait], None]
"""Told before each wait."""


def silently(_: Wait) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Retry:
    """A call gets `attempts`, with waits that double from `first_s` to `longest_s`, with jitter.

    A server that says when to come again (Retry-After: busy, full, or something behind it is away) gets what it
    asks for, as often as it asks, for `patience_s` in all (unless one attempt is all that there is).
    """

    attempts: int = 4
    first_s: float = 0.25
    longest_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    patience_s: float = 60.0
    waiting: Waiting = silently

    def allows(self, tries: int, wished_s: float | None, waited_s: float, patience_s: float | None = None) -> bool:
        """Whether one more try is due after `tries` in a row that failed, having waited `waited_s` in all.

        `wished_s` is the server's own wish (Retry-After), None without one; `patience_s` stands for ours.
        """
        if wished_s is None:
            return tries < self.attempts
        return self.attempts > 1 and waited_s < (self.patience_s if patience_s is None else patience_s)

    def seconds(self, attempt: int, at_least_s: float | None = None) -> float:
        """How long to wait before attempt number `attempt` + 1; `at_least_s` is the server's own wish."""
        backed_off = min(self.longest_s, self.first_s * 2.0 ** min(attempt, 10)) * random.uniform(0.7, 1.0)  # noqa: S311
        return min(MOST_S, max(backed_off, at_least_s or 0.0))

    def wait(
        self,
        attempt: int,
        at_least_s: float | None = None,
        because: AimicError | None = None,
        safe: float | None = None,
    ) -> float:
        """Sleep before attempt number `attempt` + 1 (attempts count from 0), and say why; the seconds slept."""
        seconds = self.seconds(attempt, at_least_s)
        if because is not None:
            self.tell(because, seconds, safe)
        self.sleep(seconds)
        return seconds

    def tell(self, because: AimicError, seconds: float, safe: float | None = None) -> None:
        """Say why it is waited; a moment isn't worth a word."""
        if seconds >= 1:
            self.waiting(Wait(because, seconds, safe))
