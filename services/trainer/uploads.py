"""Checkpoints and results go up on a thread of their own, so that the lease is renewed meanwhile."""

import logging
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from aimic import faults
from aimic.errors import AimicError, NotFoundError, UnavailableError
from services.trainer import transfer
from services.trainer.api import ClaimedTask
from services.trainer.lane import Lane
from services.trainer.reports import Report

logger = logging.getLogger(__name__)
T = TypeVar("T")

RESULT_STEP = 2**31 - 1
"""The step under which a result's objects are written: after every checkpoint."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0


def upload(task: ClaimedTask, step: int, files: dict[str, Path]) -> dict[str, str]:
    """Write files as a step's objects; their keys by name. Each try asks for addresses anew, since they expire."""
    if not files:
        return {}
    slots = task.slots(step, sorted(files))
    for name, path in files.items():
        try:
            transfer.send(path, slots[name].put)
        except NotFoundError as error:  # of the store; from ingest it would mean that the task is gone
            raise UnavailableError(error.message) from error
    return {name: slots[name].key for name in files}


class Uploads:
    """One upload at a time. Of checkpoints only the newest is worth it; it is tried until it is stored or overtaken."""

    def __init__(self, task: ClaimedTask, tell_all: Callable[[], None]) -> None:
        self._task = task
        self._tell_all = tell_all
        self._lane = Lane("upload")
        self._running: tuple[Report, Future[None]] | None = None
        self._next: Report | None = None
        self._pause = FIRST_PAUSE_S
        self._not_before = 0.0

    def checkpoint(self, report: Report) -> None:
        """Take a checkpoint over; its files are removed once they are up or overtaken."""
        self.drop_waiting()
        self._next = report
        self.busy()

    def busy(self) -> bool:
        """Begin what is due; whether anything is still to be stored. AimicError when the task is no longer ours."""
        if self._running is not None and self._running[1].done():
            self._collect(*self._running)
        if self._running is None and self._next is not None and time.monotonic() >= self._not_before:
            report, self._next = self._next, None
            self._running = (report, self._lane.submit(lambda: self._store(report)))
        return self._running is not None or self._next is not None

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do something after the upload that is under way."""
        return self._lane.submit(work)

    def result(self, report: Report, done: Callable[[dict[str, str]], None]) -> None:
        """Upload a result's files, after which `done` tells ingest their keys; to be submitted."""
        faults.point("trainer.result.uploading")
        keys = upload(self._task, RESULT_STEP, report.files)
        faults.point("trainer.result.uploaded")
        # Afterwards nobody may tell anything of this task.
        self._tell_all()
        done(keys)
        faults.point("trainer.result.told")

    def drop_waiting(self) -> None:
        """The checkpoint that waits is not needed any more."""
        if self._next is not None:
            _remove(self._next)
            self._next = None

    def close(self) -> None:
        """Forget what waits; an upload under way ends in the background."""
        self._lane.close()

    def _collect(self, report: Report, done: Future[None]) -> None:
        self._running = None
        try:
            done.result()
        except AimicError as error:
            if is_stale(error):
                raise
            logger.warning("a checkpoint was not stored", extra={"step": report.step, "reason": error.message})
            self._not_before = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE_S)
            if self._next is None and isinstance(error, UnavailableError):
                self._next = report
                return
        else:
            self._pause, self._not_before = FIRST_PAUSE_S, 0.0
        _remove(report)

    def _store(self, report: Report) -> None:
        faults.point("trainer.checkpoint.uploading")
        objects = upload(self._task, report.step, report.files)
        faults.point("trainer.checkpoint.uploaded")
        # First what it covers: a run that goes on from it won't tell that again.
        self._tell_all()
        self._task.checkpoint(report.step, objects)
        faults.point("trainer.checkpoint.told")
        logger.info("checkpoint stored", extra={"step": report.step})


def _remove(report: Report) -> None:
    for folder in {path.parent for path in report.files.values()}:
        shutil.rmtree(folder, ignore_errors=True)


def is_stale(error: AimicError) -> bool:
    """Whether an error of a task call means that the task is no longer ours."""
    return error.code in {"stale_fence", "not_authenticated", "not_found"}
