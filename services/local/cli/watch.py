"""Progress bars of a job: batch in epoch, epoch in fold, tasks in all, with an estimate."""

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from aimic.client import Client
from aimic.domain.job import Job, Progress, ProgressKind, Status
from services.local.cli.session import err, number


def watch(client: Client, job_id: str, quiet: bool = False) -> Job:
    """Follow a job to its end on standard error; the finished job. Ctrl-C leaves the job running."""
    view = _View(client.jobs.show(job_id), quiet)
    with view.bars:
        for event in client.jobs.watch(job_id):
            view.told(event)
            if event.kind in {ProgressKind.STATUS, ProgressKind.EPOCH}:
                view.refresh(client.jobs.show(job_id))
    return client.jobs.show(job_id)


class _View:
    """Three bars, and a line for each finished epoch above them."""

    def __init__(self, job: Job, quiet: bool) -> None:
        self.bars = Bars(
            TextColumn("{task.description}", justify="left"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=err,
            disable=quiet,
        )
        self._names = {task.id: task.key for task in job.tasks}
        self._batch = self.bars.add_task("batch in epoch", total=None, note="")
        self._epoch = self.bars.add_task("epoch in fold", total=None, note="")
        self._all = self.bars.add_task("tasks in all", total=len(job.tasks), note="")
        self.refresh(job)

    def refresh(self, job: Job) -> None:
        done = sum(task.status is Status.DONE for task in job.tasks)
        note = f"about {_minutes(job.eta_s)} left" if job.eta_s else ""
        self.bars.update(self._all, completed=done, total=len(job.tasks), note=note)

    def told(self, event: Progress) -> None:
        name = self._names.get(event.task_id or "", "job")
        data = event.data
        if event.kind is ProgressKind.BATCH:
            speed = data.get("images_per_s")
            note = f"{name}: {data.get('phase', '')}" + (f", {speed:.0f} images/s" if speed else "")
            self.bars.update(self._batch, completed=data.get("batch", 0), total=data.get("batches"), note=note)
            if data.get("epochs"):
                self.bars.update(self._epoch, completed=data.get("epoch", 0), total=data["epochs"], note=name)
        elif event.kind is ProgressKind.EPOCH:
            self.bars.console.print(
                f"{name}  epoch {data.get('epoch')}/{data.get('epochs')}  train loss {number(data.get('train_loss'))}  "
                f"validation loss {number(data.get('loss'))}  accuracy {number(data.get('accuracy'))}"
            )
        elif event.kind is ProgressKind.WARNING:
            self.bars.console.print(f"{name}: warning: {data.get('message', '')}")
        elif data.get("message"):
            self.bars.console.print(f"{name}: {data['message']}")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
