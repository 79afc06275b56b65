"""Checkpoints and results go up on a thread of their own, so that the lease is renewed meanwhile."""

import logging
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from aimic import faults
from aimic.errors import AimicError
from services.trainer import transfer
from services.trainer.api import ClaimedTask
from services.trainer.reports import Report

logger = logging.getLogger(__name__)

RESULT_STEP = 2**31 - 1
"""The step under which a result's objects are written: after every checkpoint."""


def upload(task: ClaimedTask, step: int, files: dict[str, Path]) -> dict[str, str]:
    """Write files as a step's objects; their keys by name."""
    if not files:
        return {}
    slots = task.slots(step, sorted(files))
    for name, path in files.items():
        transfer.send(path, slots[name].put)
    return {name: slots[name].key for name in files}


class Uploads:
    """One upload at a time. Of checkpoints that wait, only the newest is worth it."""

    def __init__(self, task: ClaimedTask) -> None:
        self._task = task
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="upload")
        self._running: Future[None] | None = None
        self._next: Report | None = None

    def checkpoint(self, report: Report) -> None:
        """Take a checkpoint over; its files are removed once they are up or overtaken."""
        if self._next is not None:
            _remove(self._next)
        self._next = report
        self.busy()

    def busy(self) -> bool:
        """Whether anything is on its way. Raises when it turned out that the task is no longer ours.

        A checkpoint that could not be stored for another reason is given up: a newer one will come.
        """
        if self._running is not None and self._running.done():
            done, self._running = self._running, None
            try:
                done.result()
            except AimicError as error:
                if is_stale(error):
                    raise
                logger.warning("a checkpoint was not stored", extra={"reason": error.message})
        if self._running is None and self._next is not None:
            report, self._next = self._next, None
            self._running = self._pool.submit(self._store, report)
        return self._running is not None

    def result(self, report: Report, done: Callable[[dict[str, str]], None]) -> Future[None]:
        """Upload a result's files, after which `done` tells ingest their keys."""

        def work() -> None:
            faults.point("trainer.result.uploading")
            keys = upload(self._task, RESULT_STEP, report.files)
            faults.point("trainer.result.uploaded")
            done(keys)
            faults.point("trainer.result.told")

        return self._pool.submit(work)

    def close(self) -> None:
        """Forget what waits; an upload under way ends in the background."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _store(self, report: Report) -> None:
        try:
            faults.point("trainer.checkpoint.uploading")
            objects = upload(self._task, report.step, report.files)
            faults.point("trainer.checkpoint.uploaded")
            self._task.checkpoint(report.step, objects)
            faults.point("trainer.checkpoint.told")
            logger.info("checkpoint stored", extra={"step": report.step})
        finally:
            _remove(report)


def _remove(report: Report) -> None:
    for folder in {path.parent for path in report.files.values()}:
        shutil.rmtree(folder, ignore_errors=True)


def is_stale(error: AimicError) -> bool:
    """Whether an error of a task call means that the task is no longer ours."""
    return error.code in {"stale_fence", "not_authenticated", "not_found"}
