"""Asks ingest for tasks and runs them, one at a time."""

import contextlib
import logging
import threading
import time
from contextlib import AbstractContextManager, nullcontext

from aimic import faults, tracing
from aimic.domain.job import TaskKind
from aimic.domain.work import Claim
from aimic.errors import AimicError, UnavailableError
from aimic.ports.events import Events
from aimic.telemetry import new_request_id, request_id
from services.trainer import metrics
from services.trainer.api import Ingest
from services.trainer.caches import forget_old
from services.trainer.grace import Grace
from services.trainer.lane import Lane
from services.trainer.listener import Listener
from services.trainer.process import Children
from services.trainer.run import Ending, TaskRun
from services.trainer.settings import Settings

logger = logging.getLogger(__name__)

KEEP_CHILD_S = 60.0
"""Idle time after which the child, and the memory that torch takes, is given up."""
TIDY_EVERY_S = 3600.0
AWAY_S = 5.0
"""Until ingest is asked again when it could not be reached or could not give a task. Wake-ups don't shorten it, since
whatever is away would be asked again and again. It is shorter than the pause of a worker that is idle: until ingest
has answered we aren't ready."""
LOOK_S = 0.5
"""Longest wait for a wake-up before looking whether we should stop."""


class Worker:
    """Claims whenever something may be there: after a task, after a wake-up, and now and then anyway.

    A wake-up names no owner and may be lost; the records are the queue.
    """

    def __init__(self, settings: Settings, ingest: Ingest, events: Events) -> None:
        self._settings = settings
        self._ingest = ingest
        self._listener = Listener(events)
        self._children = Children()
        self._claims = Lane("claims")
        self._stopping = threading.Event()
        self._worked_at = time.monotonic()
        """When the last task was left."""
        self._tidied_at = float("-inf")
        self._away = False
        """Whether ingest could not be reached the last time."""

    def stop(self) -> None:
        """Hand back what runs and end; returns at once."""
        self._stopping.set()

    def not_ready(self) -> str | None:
        """Why we can't work, or None."""
        return "ingest can't be reached" if self._away else None

    def run(self) -> None:
        """Work until stopped; with `trainer_until_idle`, until there is nothing to do."""
        while not self._stopping.is_set():
            ending = self._work_once()
            if ending is None:
                if self._settings.trainer_until_idle and not self._away:
                    return
                self._rest()
            elif ending is not Ending.DONE:
                # A task that fails at once must not be claimed in a tight loop.
                self._stopping.wait(1.0)
        self._close()

    def _work_once(self) -> Ending | None:
        woken_by = self._listener.traceparent
        self._listener.forget()
        try:
            with _asking(woken_by):
                claim = self._ask()
            self._told_away(False)
        except AimicError as error:
            if not self._away:
                logger.warning("no task could be asked for", extra={"reason": error.message})
            self._told_away(True)
            return None
        if claim is None:
            return None
        token = request_id.set(new_request_id())
        try:
            return self._do(claim)
        finally:
            request_id.reset(token)
            self._worked_at = time.monotonic()

    def _do(self, claim: Claim) -> Ending:
        facts = {"task": claim.task.id, "key": claim.task.key, "job": claim.job_id, "site": claim.site}
        with tracing.span(f"task {claim.task.kind}", claim.traceparent, "consumer", _facts(claim)) as span:
            logger.info("task claimed", extra={**facts, "fence": claim.fence})
            faults.point("trainer.claimed")
            started = time.monotonic()
            try:
                ending = TaskRun(self._settings, self._children, self._ingest.task(claim), claim).run(self._stopping)
                span.note({"aimic.ending": ending.value})
            finally:
                logger.info("task left", extra={**facts, "seconds": round(time.monotonic() - started, 1)})
        return ending

    def _told_away(self, away: bool) -> None:
        self._away = away
        metrics.UP.labels("ingest").set(not away)

    def _ask(self) -> Claim | None:
        """On a lane of its own: a busy ingest may take long over a claim, and one that it answers when we have gone
        costs an attempt."""
        grace = Grace(self._stopping, self._settings.grace_s)
        answer = self._claims.submit(lambda: self._ingest.claim(self._settings.trainer_name, tuple(TaskKind)))
        while not grace.over():
            with contextlib.suppress(TimeoutError):
                return answer.result(0.2)
        raise UnavailableError("ingest has not answered in time")

    def _rest(self) -> None:
        """Until a wake-up, the next question's time, or the end."""
        now = time.monotonic()
        if now - self._worked_at > KEEP_CHILD_S:
            self._children.close()
        if now - self._tidied_at > TIDY_EVERY_S:
            self._tidied_at = now
            self._tidy()
        self._listener.start()
        if self._away:
            self._stopping.wait(min(AWAY_S, self._settings.poll_s))
            return
        end = now + self._settings.poll_s
        while not self._stopping.is_set() and (left := end - time.monotonic()) > 0:
            if self._listener.wait(min(left, LOOK_S)):
                return

    def _tidy(self) -> None:
        limit = int(self._settings.trainer_cache_gib * 2**30)
        try:
            forget_old(self._settings.home / "cache", limit, time.time())
        except OSError as error:
            logger.warning("old prepared images could not be removed", extra={"reason": str(error)})

    def _close(self) -> None:
        self._claims.close()
        self._children.close()
        self._listener.stop()


def _asking(woken_by: str) -> AbstractContextManager[object]:
    """Only a question that a wake-up led to is a part of its trace; the others would make one every few seconds."""
    return tracing.span("claim", woken_by, "client") if woken_by else nullcontext()


def _facts(claim: Claim) -> tracing.Facts:
    task = claim.task
    return {"aimic.job": claim.job_id, "aimic.task": task.id, "aimic.key": task.key, "aimic.fence": claim.fence}
