"""What the child tells its worker: one JSON object a line on standard output."""

import threading
import time
from pathlib import Path
from typing import Any, Literal, TextIO

from aimic.domain.base import Value
from aimic.domain.job import EpochLog, ProgressKind

BATCH_EVERY_S = 0.5
"""Batch progress is for the eye; more often than this is noise."""
ALIVE_EVERY_S = 10.0
"""A child that has nothing to report says so often that it lives."""


class Report(Value):
    """One line. `files` are paths on this machine, by the object name they should get."""

    event: Literal["alive", "progress", "checkpoint", "result", "failed", "stopped"]
    kind: ProgressKind | None = None
    data: dict[str, Any] = {}
    step: int = 0
    files: dict[str, Path] = {}
    reason: str = ""
    detail: str = ""
    retry: bool = False
    store: Literal["", "away", "refused"] = ""
    """Whether it failed because the store is away, or refused an address; then it may begin again."""


class Reporter:
    """Writes reports; safe from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last_batch = float("-inf")
        self._sent_at = time.monotonic()

    def _send(self, report: Report) -> None:
        with self._lock:
            self._sent_at = time.monotonic()
            self._stream.write(report.model_dump_json(exclude_defaults=True) + "\n")
            self._stream.flush()

    def alive(self) -> None:
        """The work goes on, whatever else there is to say; left out when something was said lately. To be called at
        every step of what may take hours, by who does it: a thread that only says this would hide that it hangs."""
        if time.monotonic() - self._sent_at >= ALIVE_EVERY_S:
            self._send(Report(event="alive"))

    def batch(self, phase: str, done: int, total: int, images_per_s: float | None = None, **more: Any) -> None:
        """Where we are within a phase; left out when the last one is fresh and this isn't the end."""
        now = time.monotonic()
        if now - self._last_batch < BATCH_EVERY_S and done < total:
            return
        self._last_batch = now
        speed = None if images_per_s is None else round(images_per_s, 1)
        data = {"phase": phase, "batch": done, "batches": total, "images_per_s": speed, **more}
        self._send(Report(event="progress", kind=ProgressKind.BATCH, data=data))

    def epoch(self, log: EpochLog, **more: Any) -> None:
        """An epoch is over."""
        data = {**log.model_dump(mode="json"), **more}
        self._send(Report(event="progress", kind=ProgressKind.EPOCH, data=data))

    def warning(self, message: str) -> None:
        """Something a person should know of this run."""
        self._send(Report(event="progress", kind=ProgressKind.WARNING, data={"message": message}))

    def checkpoint(self, step: int, files: dict[str, Path]) -> None:
        """A checkpoint lies on disk; the worker uploads it and removes its directory."""
        self._send(Report(event="checkpoint", step=step, files=files))

    def result(self, result: dict[str, Any], files: dict[str, Path]) -> None:
        """The task is done."""
        self._send(Report(event="result", data=result, files=files))

    def failed(self, reason: str, detail: str, retry: bool, store: Literal["", "away", "refused"] = "") -> None:
        """The task can't be done; `reason` is for the person who started the job."""
        self._send(Report(event="failed", reason=reason, detail=detail, retry=retry, store=store))

    def stopped(self) -> None:
        """We ended because we were asked to; the last checkpoint was told before."""
        self._send(Report(event="stopped"))
