"""The time between being asked to stop and the end."""

import threading
import time


class Grace:
    """`seconds` from the moment in which `stopping` was seen to be set."""

    def __init__(self, stopping: threading.Event, seconds: float) -> None:
        self._stopping = stopping
        self._seconds = seconds
        self._asked_at: float | None = None

    def asked(self) -> bool:
        """Whether we are asked to stop."""
        if self._asked_at is None and self._stopping.is_set():
            self._asked_at = time.monotonic()
        return self._asked_at is not None

    def over(self, share: float = 1.0) -> bool:
        """Whether we were asked, and this share of the time has passed."""
        if not self.asked() or self._asked_at is None:
            return False
        return time.monotonic() - self._asked_at >= share * self._seconds
