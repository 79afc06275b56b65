"""How long predictions are asked again. Asking changes nothing, so it is always safe; only the time is bounded."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from aimic.client.retry import Retry
from aimic.errors import (
    AimicError,
    DeadlineError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
    UnreadableImageError,
)

COST_THEIR_BATCH = (UnreadableImageError, TooLargeError, DeadlineError, OverloadedError, UnavailableError)
"""After the retries; for the images of other batches they mean nothing."""


class NotAnsweredError(Exception):
    """One try that failed: with which error, and after how many seconds the server wishes to see us again."""

    def __init__(self, error: AimicError, wished_s: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.wished_s = wished_s


@dataclass(frozen=True)
class Allowance:
    """Seconds for one try, and for all tries with the waits between them."""

    try_s: float
    all_s: float
    persistent: bool = False
    """Whether a service that is busy or away is waited for however often it has to be asked."""


class Tries:
    """The tries of one request, from now on."""

    def __init__(self, retry: Retry, allowance: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry = retry
        self._allowance = allowance
        self._clock = clock
        self._ends = clock() + allowance.all_s
        self._failed = 0

    def try_s(self) -> float:
        """Seconds for the next try; DeadlineError when there are none."""
        left = self._ends - self._clock()
        if left <= 0:
            raise DeadlineError("AIMIC was asked to wait for too long, so these images were not asked about again.")
        return min(self._allowance.try_s, left)

    def pause_s(self, refused: NotAnsweredError) -> float | None:
        """Seconds to wait before the next try; None when there shall be none, which is known before any waiting."""
        self._failed += 1
        if not self._another(refused):
            return None
        pause = self._retry.seconds(self._failed - 1, refused.wished_s)
        return pause if self._clock() + pause < self._ends else None

    def _another(self, refused: NotAnsweredError) -> bool:
        error = refused.error
        away = isinstance(error, OverloadedError | UnavailableError)
        if self._retry.attempts <= 1 or not (away or passing(error)):
            return False
        if away and (refused.wished_s is not None or self._allowance.persistent):
            return True
        return self._failed < self._retry.attempts


def passing(error: AimicError) -> bool:
    """Whether the same request may do better later; a fault on the server's side counts, since it may be chance."""
    return isinstance(error, OverloadedError | UnavailableError | DeadlineError) or type(error) is AimicError
