"""A caller's deadline, honoured at each step of the way."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aimic.errors import DeadlineError


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock (seconds), which is also the event loop's clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """The moment `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative when it has passed."""
        return self.at - time.monotonic()

    def error(self, step: str) -> DeadlineError:
        """What the caller is told when time ran out while `step`."""
        return DeadlineError(
            f"Your deadline passed while {step}. There is no answer; ask again with a later deadline or fewer images."
        )

    @asynccontextmanager
    async def during(self, step: str) -> AsyncIterator[None]:
        """Ends what is inside when the time is over, with a DeadlineError that names the step."""
        try:
            async with asyncio.timeout_at(self.at) as limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise self.error(step) from None
            raise
