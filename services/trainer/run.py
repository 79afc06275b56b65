"""One claimed task from its claim to its end: the child, the lease, progress, checkpoints, the result."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from enum import StrEnum
from typing import TypeVar

from aimic import tracing
from aimic.domain.job import ProgressKind
from aimic.domain.work import Claim, ProgressItem
from aimic.errors import AimicError, UnavailableError
from aimic.telemetry import request_id, traceparent
from services.trainer import metrics
from services.trainer.api import ClaimedTask
from services.trainer.failures import describe, of_death, of_silence
from services.trainer.grace import Grace
from services.trainer.line import Line
from services.trainer.process import ChildProcess, Children
from services.trainer.reports import Report
from services.trainer.scratch import Scratch
from services.trainer.settings import Settings
from services.trainer.spec import ChildSpec
from services.trainer.uploads import Uploads, is_stale

logger = logging.getLogger(__name__)
T = TypeVar("T")

TELL_AGAIN_S = 2.0
"""Pause before something is told again to an ingest that is away."""
CHILD_SHARE = 0.8
"""Of the grace; the rest is for a last checkpoint on its way up."""
BEGIN_AGAIN_S, LONGEST_S = 2.0, 30.0
"""Pauses before a child whose addresses the store refused, or that found it away, begins again."""
MOST_REFUSALS = 5
"""Fresh addresses in a row that the store may refuse before the task has failed."""


class Ending(StrEnum):
    """How it ended for this worker."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    STALE = "stale"


class _LeftError(Exception):
    """The task is to be left now, so that another can go on with it, or nobody."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class TaskRun:
    """Runs one task. The lease is renewed from the same loop that hears the child, so that it ends with it."""

    def __init__(self, settings: Settings, children: Children, task: ClaimedTask, claim: Claim) -> None:
        self._children = children
        self._settings = settings
        self._task = task
        self._claim = claim
        self._scratch = Scratch(settings.home / "work" / f"{claim.task.id}-{claim.fence}")
        self._line = Line(task, claim.lease_s)
        self._uploads = Uploads(task, self._line.tell_all)
        self._grace = Grace(threading.Event(), 0)
        self._child: ChildProcess | None = None
        self._last: Report | None = None
        """The report that ended the child's work."""
        self._heard_at = 0.0
        """When the child last said something, or was given its task."""
        self._beginnings = 0
        self._in_vain = 0
        """Beginnings that came no further than to the store."""

    def run(self, stopping: threading.Event) -> Ending:
        """Do the task; returns when nothing of it is left in this process."""
        self._grace = Grace(stopping, self._settings.grace_s)
        try:
            self._scratch.open()
            self._begin()
            ending = self._conclude(self._follow())
        except _LeftError as left:
            ending = self._hand_back(left.ending)
        except Exception as error:
            ending = self._ending_of(error)
        finally:
            self._clean()
        metrics.TASKS.labels(self._claim.task.kind.value, ending.value).inc()
        return ending

    def _begin(self) -> None:
        """Give the task to the child, with addresses that were just made."""
        if self._beginnings:
            self._claim = self._insist(self._task.claimed)
        spec = ChildSpec(
            claim=self._claim.model_copy(update={"traceparent": traceparent.get()}),
            request_id=request_id.get(),
            cache=self._settings.home / "cache",
            weights_dir=self._settings.weights_dir,
            checkpoint_s=self._settings.trainer_checkpoint_s,
            epoch_checkpoint_s=self._settings.trainer_epoch_checkpoint_s,
            executors=self._settings.trainer_executors,
            executor_images=self._settings.trainer_executor_images,
        )
        shutil.rmtree(self._scratch.directory / str(self._beginnings), ignore_errors=True)
        self._beginnings += 1
        directory = self._scratch.directory / str(self._beginnings)
        directory.mkdir()
        self._insist(lambda: spec.write(directory, self._task.samples()))
        if self._child is None:
            self._child = self._children.get(self._claim.settings.threads or 1)
        self._child.begin(directory)
        self._heard_at = time.monotonic()

    def _insist(self, call: Callable[[], T]) -> T:
        """What ingest answers once it is there. There is nothing yet that a wait could save, so none when stopping."""
        while True:
            answer = self._uploads.submit(call)
            while not answer.done():
                self._pass(0.02, share=0)
            try:
                return answer.result()
            except UnavailableError as error:
                logger.warning("the task can't begin yet", extra={"reason": error.message})
                self._rest(TELL_AGAIN_S, share=0)

    def _follow(self) -> Report | None:
        """The report that ended the child's work; None when it ended without a word that counts, or had no time."""
        asked = False
        while not self._grace.over(CHILD_SHARE):
            assert self._child is not None
            if (report := self._child.next_report(0.2)) is not None:
                self._heard_at = time.monotonic()
                self._hear(report)
            elif (code := self._child.ended()) is not None:
                reason, detail, retry = of_death(code, self._child.last_words)
                return Report(event="failed", reason=reason, detail=detail, retry=retry)
            elif time.monotonic() - self._heard_at > self._settings.trainer_silence_s:
                reason, detail, retry = of_silence(self._settings.trainer_silence_s, self._child.last_words)
                self._child.close()
                return Report(event="failed", reason=reason, detail=detail, retry=retry)
            if self._last is not None:
                return self._last
            self._pass(0)
            if self._grace.asked() and not asked:
                asked = True
                self._child.ask_to_stop()
        return None

    def _conclude(self, last: Report | None) -> Ending:
        while self._line.tick():
            self._pass(0.02)
        if last is None or last.event == "stopped":
            while self._uploads.busy():
                self._pass(0.05)
            self._tell_before_leaving()
            return self._hand_back(Ending.RELEASED)
        self._uploads.drop_waiting()
        if last.event == "failed":
            return self._fail(last)
        self._until_taken(lambda: self._uploads.result(last, lambda keys: self._task.finish(last.data, keys)))
        return Ending.DONE

    def _tell_before_leaving(self) -> None:
        told = self._uploads.submit(self._line.tell_all)
        while not told.done():
            self._pass(0.02)
        if isinstance(error := told.exception(), AimicError) and is_stale(error):
            raise error

    def _hear(self, report: Report) -> None:
        if report.event == "checkpoint":
            self._uploads.checkpoint(report)
        elif report.event == "progress":
            assert report.kind is not None
            if report.kind is ProgressKind.EPOCH:
                metrics.observe_epoch(self._claim.task.network, report.data)
                tracing.current().record("epoch", float(report.data["seconds"]))
            if report.kind is not ProgressKind.WARNING:
                self._in_vain = 0
            self._line.add(ProgressItem(kind=report.kind, data=report.data))
        elif report.event == "failed" and report.store:
            self._begin_again(report)
        elif report.event != "alive":
            self._last = report

    def _begin_again(self, report: Report) -> None:
        """The child could not read from the store: its addresses have expired, or the store is away."""
        self._in_vain += 1
        if report.store == "refused" and self._in_vain > MOST_REFUSALS:
            self._last = report
            return
        logger.warning("the child begins again", extra={"reason": report.reason})
        if self._in_vain == 1 and report.store == "away":
            words = f"{report.reason} The task waits for it and goes on by itself."
            self._line.add(ProgressItem(kind=ProgressKind.WARNING, data={"message": words}))
        self._rest(min(BEGIN_AGAIN_S * 2 ** (self._in_vain - 1), LONGEST_S), share=0)
        self._begin()

    def _pass(self, seconds: float, share: float = 1.0) -> None:
        """Let time pass: the lease is renewed, progress told. _LeftError when the task is to be left."""
        time.sleep(seconds)
        self._line.tick()
        if self._line.cancelled:
            raise _LeftError(Ending.CANCELLED)
        if self._grace.over(share):
            raise _LeftError(Ending.RELEASED)
        self._uploads.busy()

    def _rest(self, seconds: float, share: float = 1.0) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._pass(min(left, 0.1), share)

    def _until_taken(self, tell: Callable[[], None]) -> None:
        """Tell the task's end for as long as it is ours: it cost too much to give up."""
        while True:
            done: Future[None] = self._uploads.submit(tell)
            while not done.done():
                self._pass(0.02)
            try:
                return done.result()
            except UnavailableError as error:
                logger.warning("the end of the task waits", extra={"reason": error.message})
                self._rest(TELL_AGAIN_S)

    def _fail(self, last: Report) -> Ending:
        logger.warning("task failed", extra={"reason": last.reason, "detail": last.detail})
        reason = last.reason or "The training stopped on an error."
        self._until_taken(lambda: self._task.fail(reason, last.detail, last.retry))
        return Ending.FAILED

    def _hand_back(self, ending: Ending) -> Ending:
        try:
            self._task.release()
        except AimicError as error:
            # Then the lease ends by itself.
            logger.warning("the task was not handed back", extra={"reason": error.message})
        return ending

    def _ending_of(self, error: Exception) -> Ending:
        """What an error on our side means: the task is gone, or an attempt that failed."""
        if isinstance(error, AimicError) and is_stale(error):
            logger.warning("the task is no longer ours; dropped", extra={"reason": error.message})
            return Ending.STALE
        logger.error("the task could not be followed", exc_info=error)
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
        self._line.close()
        self._uploads.close()
        self._scratch.close()
