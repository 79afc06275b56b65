"""Progress of jobs: numbered under the job's lock, kept in the records, told by the relay."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from aimic.domain.job import ProgressKind, Status
from services.ingest.database import announce
from services.ingest.jobs.tables import JobRow, ProgressRow
from services.ingest.outbox import RELAY
from services.ingest.tasks.tables import TaskRow


def signal_of(site: str, job_id: str) -> str:
    """The key under which a job's watchers wait."""
    return f"job/{site}/{job_id}"


def tell(
    session: Session,
    job: JobRow,
    now: datetime,
    kind: ProgressKind,
    data: dict[str, Any],
    task: TaskRow | None = None,
) -> int:
    """Add one event; its sequence. The caller holds the lock on the job's row."""
    epoch = data.get("epoch") if kind is ProgressKind.EPOCH else None
    if task is not None:
        _drop_what_it_replaces(session, task, kind, epoch)
    job.sequence += 1
    session.add(
        ProgressRow(
            site=job.site,
            job_id=job.id,
            sequence=job.sequence,
            task_id=task.id if task else None,
            kind=kind,
            epoch=epoch,
            data=data,
            at=now,
        )
    )
    announce(session, signal_of(job.site, job.id))
    announce(session, RELAY)
    return job.sequence


def tell_status(
    session: Session, job: JobRow, now: datetime, status: Status, message: str, task: TaskRow | None = None
) -> None:
    """Set the status of the task, or of the job itself, and tell of it."""
    if task is not None:
        task.status = status
    else:
        job.status = status
        job.finished_at = now if status.over else None
    tell(session, job, now, ProgressKind.STATUS, {"status": status.value, "message": message}, task)


def newest_batch_at(session: Session, task: TaskRow) -> datetime | None:
    """When the task's newest batch event came."""
    mine = (ProgressRow.site == task.site, ProgressRow.task_id == task.id, ProgressRow.kind == ProgressKind.BATCH)
    return session.scalar(select(func.max(ProgressRow.at)).where(*mine))


def _drop_what_it_replaces(session: Session, task: TaskRow, kind: ProgressKind, epoch: Any) -> None:
    mine = (ProgressRow.site == task.site, ProgressRow.task_id == task.id, ProgressRow.kind == kind)
    if kind is ProgressKind.BATCH:
        session.execute(delete(ProgressRow).where(*mine))
    elif kind is ProgressKind.EPOCH and isinstance(epoch, int):
        # After a crash the epochs since the checkpoint are done again; those count once.
        session.execute(delete(ProgressRow).where(*mine, ProgressRow.epoch >= epoch))
