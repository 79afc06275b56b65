"""The rows of jobs."""

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from aimic.domain.split import Split
from aimic.errors import NotFoundError
from services.ingest.jobs.tables import JobKind, JobRow, JobSplitRow, ProgressRow
from services.ingest.tasks.tables import TaskRow


def find(session: Session, site: str, job_id: str, kind: JobKind | None = None) -> JobRow:
    """A job of the site; NotFoundError."""
    row = session.get(JobRow, (site, job_id))
    return _checked(row, job_id, kind)


def lock(session: Session, site: str, job_id: str) -> JobRow:
    """A job under its lock, read anew: its tasks and its sequence are ours until the commit."""
    query = select(JobRow).where(JobRow.site == site, JobRow.id == job_id)
    # Its key never changes, so rows that point to it may come in meanwhile.
    row = session.scalar(query.with_for_update(key_share=True).execution_options(populate_existing=True))
    return _checked(row, job_id, None)


def _checked(row: JobRow | None, job_id: str, kind: JobKind | None) -> JobRow:
    if row is None or (kind is not None and row.kind != kind):
        raise NotFoundError(f"There is no job {job_id} at this site.")
    return row


def newest(session: Session, site: str, limit: int, after: tuple[str | int, ...] | None) -> list[JobRow]:
    """Training jobs, newest first, after the job with this id; one more than `limit`."""
    query = select(JobRow).where(JobRow.site == site, JobRow.kind == JobKind.TRAIN)
    if after is not None:
        last = find(session, site, str(after[0]))
        query = query.where(tuple_(JobRow.created_at, JobRow.id) < (last.created_at, last.id))
    return list(session.scalars(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)))


def split_of(session: Session, site: str, job_id: str) -> Split:
    """The stored division into folds."""
    row = session.get(JobSplitRow, (site, job_id))
    if row is None:
        raise NotFoundError(f"There is no job {job_id} at this site.")
    return Split.model_validate_json(row.body)


def tasks_of(session: Session, site: str, job_ids: list[str]) -> dict[str, list[TaskRow]]:
    """Tasks by job, in the order of the plan."""
    query = select(TaskRow).where(TaskRow.site == site, TaskRow.job_id.in_(job_ids))
    tasks: dict[str, list[TaskRow]] = {job_id: [] for job_id in job_ids}
    for row in session.scalars(query.order_by(TaskRow.ordinal)):
        tasks[row.job_id].append(row)
    return tasks


def progress_after(session: Session, site: str, job_id: str, after: int, limit: int) -> list[ProgressRow]:
    """Events of a job with a higher sequence, in order."""
    query = select(ProgressRow).where(
        ProgressRow.site == site, ProgressRow.job_id == job_id, ProgressRow.sequence > after
    )
    return list(session.scalars(query.order_by(ProgressRow.sequence).limit(limit)))
