"""One claimed task from its claim to its end: the child, the lease, progress, checkpoints, the result."""

import logging
import threading
import time
from concurrent.futures import Future
from enum import StrEnum

from aimic.domain.job import ProgressKind
from aimic.domain.work import Claim, ProgressItem
from aimic.errors import AimicError, UnavailableError
from services.trainer import metrics
from services.trainer.api import ClaimedTask
from services.trainer.failures import describe, of_death
from services.trainer.process import ChildProcess, Children
from services.trainer.reports import Report
from services.trainer.scratch import Scratch
from services.trainer.settings import Settings
from services.trainer.spec import ChildSpec
from services.trainer.uploads import Uploads, is_stale

logger = logging.getLogger(__name__)

PROGRESS_EVERY_S = 1.0
TELL_AGAIN_S = 2.0
"""Pause before the end of a task is told again to an ingest that is away."""
MOST_WAITING = 1000
UPLOAD_GRACE_S = 1.5
"""Beyond the child's grace, for a last checkpoint on its way up."""


class Ending(StrEnum):
    """How it ended for this worker."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    STALE = "stale"


class TaskRun:
    """Runs one task. The lease is renewed from the same loop that hears the child, so that it ends with it."""

    def __init__(self, settings: Settings, children: Children, task: ClaimedTask, claim: Claim) -> None:
        self._children = children
        self._settings = settings
        self._task = task
        self._claim = claim
        self._scratch = Scratch(settings.home / "work" / f"{claim.task.id}-{claim.fence}")
        self._uploads = Uploads(task)
        self._events: list[ProgressItem] = []
        self._told_at = 0.0
        self._renewed_at = time.monotonic()
        self._child: ChildProcess | None = None
        self._last: Report | None = None
        """The report that ended the child's work."""

    def run(self, stopping: threading.Event) -> Ending:
        """Do the task; returns when nothing of it is left in this process."""
        try:
            self._start()
            ending = self._follow(stopping)
        except Exception as error:
            ending = self._ending_of(error)
        finally:
            self._clean()
        metrics.TASKS.labels(self._claim.task.kind.value, ending.value).inc()
        return ending

    def _start(self) -> None:
        directory = self._scratch.open()
        spec = ChildSpec(
            claim=self._claim,
            samples=self._task.samples(),
            cache=self._settings.home / "cache",
            weights_dir=self._settings.weights_dir,
            checkpoint_s=self._settings.trainer_checkpoint_s,
            epoch_checkpoint_s=self._settings.trainer_epoch_checkpoint_s,
        )
        spec.write(directory)
        self._child = self._children.get(self._claim.settings.threads or 1)
        self._child.begin(directory)

    def _follow(self, stopping: threading.Event) -> Ending:
        assert self._child is not None
        deadline: float | None = None
        while self._last is None:
            report = self._child.next_report(0.2)
            if report is not None:
                self._hear(report)
            elif (code := self._child.ended()) is not None:
                return self._died(code)
            if self._keep_lease():
                self._child.close()
                return self._hand_back(Ending.CANCELLED)
            self._uploads.busy()
            self._tell()
            if stopping.is_set() and deadline is None:
                deadline = time.monotonic() + self._settings.trainer_grace_s
                self._child.ask_to_stop()
            if deadline is not None and time.monotonic() > deadline:
                break
        return self._conclude(stopping)

    def _conclude(self, stopping: threading.Event) -> Ending:
        last = self._last
        self._tell(now=True)
        if last is None or last.event == "stopped":
            self._finish_uploads()
            return self._hand_back(Ending.RELEASED)
        if last.event == "failed":
            return self._fail(last)
        return self._finish(last, stopping)

    def _hear(self, report: Report) -> None:
        if report.event == "checkpoint":
            # First what it covers: a run that goes on from it won't tell that again.
            self._tell(now=True)
            self._uploads.checkpoint(report)
        elif report.event == "progress":
            assert report.kind is not None
            if report.kind is ProgressKind.EPOCH:
                metrics.observe_epoch(self._claim.task.network, report.data)
            self._queue(ProgressItem(kind=report.kind, data=report.data))
        else:
            self._last = report

    def _queue(self, item: ProgressItem) -> None:
        if item.kind is ProgressKind.BATCH:
            self._events = [event for event in self._events if event.kind is not ProgressKind.BATCH]
        self._events = [*self._events, item][-MOST_WAITING:]

    def _tell(self, now: bool = False) -> None:
        if not self._events or (not now and time.monotonic() - self._told_at < PROGRESS_EVERY_S):
            return
        self._told_at = time.monotonic()
        try:
            self._tell_all()
        except UnavailableError as error:
            logger.warning("progress waits", extra={"reason": error.message, "waiting": len(self._events)})

    def _tell_all(self) -> None:
        if self._events:
            self._task.progress(self._events)
            self._events = []

    def _keep_lease(self) -> bool:
        """Renew when a third of the lease is over; True when the person cancelled."""
        if time.monotonic() - self._renewed_at < self._claim.lease_s / 3:
            return False
        self._renewed_at = time.monotonic()
        try:
            return self._task.renew().cancel
        except UnavailableError as error:
            # Ingest gives every lease a full term when it comes back, so we go on.
            logger.warning("the lease was not renewed", extra={"reason": error.message})
            return False

    def _finish_uploads(self) -> None:
        end = time.monotonic() + UPLOAD_GRACE_S
        while self._uploads.busy() and time.monotonic() < end:
            time.sleep(0.05)

    def _finish(self, last: Report, stopping: threading.Event) -> Ending:
        """Upload and tell the result, for as long as the task is ours: it cost too much to give up."""
        while self._uploads.busy():
            self._wait(0.05)
        while True:
            try:
                # Afterwards nobody may tell anything of this task.
                self._tell_all()
                self._wait_for(self._uploads.result(last, lambda keys: self._task.finish(last.data, keys)))
                return Ending.DONE
            except UnavailableError as error:
                logger.warning("the result waits", extra={"reason": error.message})
                if stopping.wait(TELL_AGAIN_S):
                    return self._hand_back(Ending.RELEASED)

    def _wait_for(self, done: Future[None]) -> None:
        while not done.done():
            self._wait(0.05)
        done.result()

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)
        self._keep_lease()

    def _fail(self, last: Report) -> Ending:
        logger.warning("task failed", extra={"reason": last.reason, "detail": last.detail})
        self._task.fail(last.reason or "The training stopped on an error.", last.detail, last.retry)
        return Ending.FAILED

    def _died(self, code: int) -> Ending:
        assert self._child is not None
        reason, detail, retry = of_death(code, self._child.last_words)
        return self._fail(Report(event="failed", reason=reason, detail=detail, retry=retry))

    def _hand_back(self, ending: Ending) -> Ending:
        try:
            self._task.release()
        except AimicError as error:
            # Then the lease ends by itself.
            logger.warning("the task was not handed back", extra={"reason": error.message})
        return ending

    def _ending_of(self, error: Exception) -> Ending:
        """What an error on our side means: the task is gone, ingest is away, or an attempt that failed."""
        if isinstance(error, AimicError) and is_stale(error):
            logger.warning("the task is no longer ours; dropped", extra={"reason": error.message})
            return Ending.STALE
        logger.error("the task could not be followed", exc_info=error)
        if isinstance(error, UnavailableError):
            return self._hand_back(Ending.RELEASED)
        try:
            reason, detail, _ = describe(error)
            self._task.fail(reason, detail, retry=True)
        except AimicError as again:
            logger.warning("the failure was not told", extra={"reason": again.message})
        return Ending.FAILED

    def _clean(self) -> None:
        if self._child is not None:
            if self._last is not None and self._last.event == "result":
                self._children.keep(self._child)
            else:
                self._child.close()
        self._uploads.close()
        self._scratch.close()
