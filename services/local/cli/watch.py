"""Progress of a job: batch in epoch, epoch in fold, folds in all, steps in all, with an estimate."""

import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from aimic.client import Client
from aimic.domain.job import Job, Progress, ProgressKind, Status, TaskKind
from services.local.cli.session import err, number

_FOLDS = {TaskKind.FOLD, TaskKind.FROZEN}
_REFRESH_S = 3.0
_LINE_S = 15.0
"""Where there is no terminal for bars, as in a log file, a line comes at most this often."""


def watch(client: Client, job_id: str, quiet: bool = False) -> Job:
    """Follow a job to its end on standard error; the finished job. Ctrl-C leaves the job running."""
    view = _View(client.jobs.show(job_id), quiet)
    looked = time.monotonic()
    with view.bars:
        for event in client.jobs.watch(job_id):
            view.told(event)
            if event.kind is ProgressKind.STATUS or time.monotonic() - looked > _REFRESH_S:
                looked = time.monotonic()
                view.refresh(client.jobs.show(job_id))
    return client.jobs.show(job_id)


class _View:
    """The bars, and above them a line for each finished epoch."""

    def __init__(self, job: Job, quiet: bool) -> None:
        self.bars = Bars(
            TextColumn("{task.description}", justify="left", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=err,
            disable=quiet,
        )
        self._quiet = quiet
        self._tasks = {task.id: task for task in job.tasks}
        self._paper = job.settings.protocol == "paper"
        self._batch = self._bar("batch in epoch")
        self._epoch = self._bar("epoch in fold")
        self._folds = self._bar("folds in all")
        self._all = self._bar("steps in all")
        self._left = ""
        self._last_line = 0.0
        self.refresh(job)

    def _bar(self, name: str) -> TaskID:
        return self.bars.add_task(name, total=None, note="")

    def refresh(self, job: Job) -> None:
        """Take the state of the tasks and the estimate from the job."""
        self._left = f"about {_duration(job.eta_s)} left" if job.eta_s else ""
        folds = [task for task in job.tasks if task.kind in _FOLDS]
        for bar, tasks in ((self._folds, folds), (self._all, list(job.tasks))):
            done = sum(task.status is Status.DONE for task in tasks)
            self.bars.update(bar, completed=done, total=len(tasks), note=self._left)

    def told(self, event: Progress) -> None:
        """Show one event."""
        task = self._tasks.get(event.task_id or "")
        name = task.key if task else "job"
        if event.kind is ProgressKind.BATCH:
            self._told_batch(name, event.data)
        elif event.kind is ProgressKind.EPOCH:
            self._line(_epoch_words(name, event.data, self._paper))
        elif event.kind is ProgressKind.WARNING:
            self._line(f"{name}: warning: {event.data.get('message', '')}")
        elif event.data.get("message"):
            self._line(f"{name}: {event.data['message']}")

    def _told_batch(self, name: str, data: dict[str, Any]) -> None:
        speed = data.get("images_per_s")
        note = f"{name}: {data.get('phase', '')}" + (f", {speed:.0f} images/s" if speed else "")
        batch, batches = data.get("batch", 0), data.get("batches")
        self.bars.update(self._batch, completed=batch, total=batches, note=note)
        if data.get("epochs"):
            # Epochs count from 1 and the one that runs isn't done yet.
            self.bars.update(self._epoch, completed=data.get("epoch", 1) - 1, total=data["epochs"], note=name)
        if not err.is_terminal and time.monotonic() - self._last_line > _LINE_S:
            self._line(f"{note}, {batch} of {batches or '?'} {self._left}".rstrip())

    def _line(self, words: str) -> None:
        self._last_line = time.monotonic()
        if not self._quiet:
            self.bars.console.print(words, soft_wrap=True)


def _epoch_words(name: str, data: dict[str, Any], paper: bool) -> str:
    seen_on = "held-out fold, which also chooses the epoch (published protocol)" if paper else "validation"
    return (
        f"{name}  epoch {data.get('epoch')}/{data.get('epochs')}  train loss {number(data.get('train_loss'))}  "
        f"{seen_on}: loss {number(data.get('loss'))}, accuracy {number(data.get('accuracy'))}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
