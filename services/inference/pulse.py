"""Liveness: does the event loop turn? Nothing else, since what is away or broken elsewhere is no reason to be ended."""

import asyncio
import time
from collections.abc import Callable

_BEAT_S = 0.5
_STILL_S = 20.0
"""A loop that stood for so long doesn't turn any more. A busy machine may stop it for seconds."""


class Pulse:
    """Beats on the event loop; any thread may ask when it did last."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._clock = clock
        self._at = clock()
        loop.call_soon(self._beat)

    def stopped(self) -> str | None:
        """Why this process should be ended and started anew; None while the loop turns."""
        still = self._clock() - self._at
        return f"the event loop has not turned for {still:.0f} s" if still > _STILL_S else None

    def _beat(self) -> None:
        self._at = self._clock()
        self._loop.call_later(_BEAT_S, self._beat)
