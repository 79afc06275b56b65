"""Jobs as a person sees them."""

from datetime import datetime

from sqlalchemy.orm import Session

from aimic.domain.dataset import Finding
from aimic.domain.job import Job, Progress, ProgressKind, Status, TaskKind, TaskView, TrainSettings
from aimic.domain.split import SplitSummary
from services.ingest.datasets.describing import with_names
from services.ingest.jobs import repository
from services.ingest.jobs.tables import JobRow, ProgressRow
from services.ingest.models import repository as models
from services.ingest.tasks.tables import TaskRow

_WITH_EPOCHS = {TaskKind.FOLD, TaskKind.REFIT}
_LONG = _WITH_EPOCHS | {TaskKind.FROZEN}


def shown(session: Session, site: str, rows: list[JobRow]) -> list[Job]:
    """Jobs with their tasks and models, in the order given."""
    ids = [row.id for row in rows]
    tasks = repository.tasks_of(session, site, ids)
    made = models.of_jobs(session, site, ids)
    return [_job(row, tasks[row.id], made[row.id], _findings(session, row)) for row in rows]


def _findings(session: Session, row: JobRow) -> tuple[Finding, ...]:
    return with_names(session, row.site, [Finding.model_validate(finding) for finding in row.findings])


def _job(row: JobRow, tasks: list[TaskRow], made: list[str], findings: tuple[Finding, ...]) -> Job:
    return Job(
        id=row.id,
        dataset=row.dataset,
        version=row.version,
        manifest_hash=row.manifest_hash,
        settings=TrainSettings.model_validate(row.settings),
        serve=row.serve,
        status=Status(row.status),
        split=SplitSummary.model_validate(row.split),
        findings=findings,
        tasks=tuple(_task(task) for task in tasks),
        models=tuple(made),
        eta_s=eta_s(tasks) if not Status(row.status).over else None,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _task(row: TaskRow) -> TaskView:
    return TaskView(
        id=row.id,
        key=row.key,
        kind=TaskKind(row.kind),
        network=row.network,
        fold=row.fold,
        status=Status(row.status),
        attempt=max(row.attempt, min(row.fence, 1)),  # since the last checkpoint; one who has begun is at the first
        progress=row.batch,
        error=row.error,
    )


def eta_s(tasks: list[TaskRow]) -> float | None:
    """Seconds until the job is done, from its pace so far; None before there is one (the first epoch's end; in
    frozen mode the first features).

    Early stopping can only make it shorter. Tasks run side by side as they do now.
    """
    left = _epochs_left(tasks)
    if left is None:
        left = _frozen_left(tasks)
    if left is None:
        return None
    side_by_side = sum(task.status == Status.RUNNING and task.kind in _LONG for task in tasks)
    return round(left / max(1, side_by_side), 1)


def _epochs_left(tasks: list[TaskRow]) -> float | None:
    timed = [task for task in tasks if task.kind in _WITH_EPOCHS and task.epoch_s is not None and task.epochs_total]
    if not timed:
        return None
    seconds = sum(task.epoch_s or 0.0 for task in timed) / len(timed)
    epochs = max(task.epochs_total or 0 for task in timed)
    left = 0.0
    for task in tasks:
        if task.kind in _WITH_EPOCHS and not Status(task.status).over:
            left += max(0.0, (task.epochs_total or epochs) - _epochs_done(task)) * (task.epoch_s or seconds)
    return left


def _frozen_left(tasks: list[TaskRow]) -> float | None:
    """What isn't begun takes as long as what runs. Features take most of the time, so they stand for all of it
    until the heads begin."""
    going = [task for task in tasks if task.kind == TaskKind.FROZEN and not Status(task.status).over]
    paces = [_pace(task) for task in going]
    known = [pace for pace in paces if pace is not None]
    if not known:
        return None
    whole = max(whole for _, whole in known)
    return sum(left for left, _ in known) + whole * (len(paces) - len(known))


def _pace(task: TaskRow) -> tuple[float, float] | None:
    """Seconds left, and seconds of the whole, of the phase that a frozen task is in."""
    batch = task.batch or {}
    total, done, speed = (float(batch.get(name) or 0) for name in ("batches", "batch", "images_per_s"))
    if batch.get("phase") == "features" and speed > 0:
        return max(0.0, total - done) / speed, total / speed
    if batch.get("phase") == "heads" and task.epoch_s is not None:
        return max(0.0, total + 1 - done) * task.epoch_s, (total + 1) * task.epoch_s  # one more: the served head
    return None


def _epochs_done(task: TaskRow) -> float:
    """Whole epochs, and the part of the one that is running."""
    batch = task.batch or {}
    if batch.get("phase") != "train" or batch.get("epoch") != task.epochs_done + 1 or not batch.get("batches"):
        return float(task.epochs_done)
    return task.epochs_done + min(1.0, float(batch.get("batch") or 0) / float(batch["batches"]))


def told(row: ProgressRow) -> Progress:
    """One event."""
    at: datetime = row.at
    return Progress(
        job_id=row.job_id,
        task_id=row.task_id,
        sequence=row.sequence,
        kind=ProgressKind(row.kind),
        data=row.data,
        at=at,
    )
