"""Renewals and progress of a running task, on a thread of their own.

So an ingest that hangs delays neither the child's reports nor our end, and one that is away only lets events wait.
"""

import logging
import threading
import time
from concurrent.futures import Future

from aimic.domain.job import ProgressKind
from aimic.domain.work import ProgressItem
from aimic.errors import UnavailableError
from services.trainer.api import ClaimedTask
from services.trainer.lane import Lane

logger = logging.getLogger(__name__)

PROGRESS_EVERY_S = 1.0
RENEW_AGAIN_S = 2.0
"""Pause after a renewal that did not reach ingest: when it is back, it should hear of us soon."""
MOST_WAITING = 1000
"""Events that wait for an ingest that is away; the oldest go first. The result has every epoch anyway."""


class Line:
    """What a task's holder says while it works."""

    def __init__(self, task: ClaimedTask, lease_s: float) -> None:
        self._task = task
        self._renew_every = lease_s / 3
        self._renew_at = time.monotonic() + self._renew_every
        self._told_at = float("-inf")
        self._events: list[ProgressItem] = []
        self._guard = threading.Lock()
        self._telling = threading.Lock()
        self._lane = Lane("line")
        self._call: Future[None] | None = None
        self._away = False
        self.cancelled = False
        """Whether the person who started the job has stopped it."""

    def add(self, item: ProgressItem) -> None:
        """Tell this, in order. Of batches only the newest is worth it."""
        with self._guard:
            if item.kind is ProgressKind.BATCH:
                self._events = [event for event in self._events if event.kind is not ProgressKind.BATCH]
            self._events = [*self._events, item][-MOST_WAITING:]

    def tick(self) -> bool:
        """Begin what is due; whether a call is under way. AimicError when ingest says that the task isn't ours."""
        if self._call is not None:
            if not self._call.done():
                return True
            self._collect(self._call)
            self._call = None
        now = time.monotonic()
        if self.cancelled:
            return False
        if now >= self._renew_at:
            self._renew_at = now + self._renew_every
            self._call = self._lane.submit(self._renew)
        elif self._events and now - self._told_at >= PROGRESS_EVERY_S:
            self._told_at = now
            self._call = self._lane.submit(self.tell_all)
        return self._call is not None

    def tell_all(self) -> None:
        """Tell what waits, now; from any thread."""
        with self._telling:
            with self._guard:
                events = list(self._events)
            if not events:
                return
            self._task.progress(events)
            with self._guard:
                told = {id(event) for event in events}
                self._events = [event for event in self._events if id(event) not in told]

    def close(self) -> None:
        """Say nothing more."""
        self._lane.close()

    def _renew(self) -> None:
        try:
            renewal = self._task.renew()
        except UnavailableError:
            # Ingest gives every lease a full term when it comes back, so the work goes on.
            self._renew_at = time.monotonic() + min(RENEW_AGAIN_S, self._renew_every)
            raise
        self.cancelled = renewal.cancel

    def _collect(self, call: Future[None]) -> None:
        try:
            call.result()
            self._away = False
        except UnavailableError as error:
            if not self._away:
                logger.warning("ingest is away; the work goes on and is told later", extra={"reason": error.message})
            self._away = True
