"""The rows of tasks: what may be claimed, and the graph."""

from datetime import datetime

from sqlalchemy import Subquery, and_, func, select
from sqlalchemy.orm import Session, aliased

from aimic.domain.job import Status, TaskKind
from aimic.domain.site import PLATFORM_SITE
from aimic.errors import NotFoundError
from services.ingest.database import seconds
from services.ingest.jobs.tables import JobRow
from services.ingest.leases import claimable
from services.ingest.tasks.tables import ClaimTurnRow, DyingObjectRow, TaskEdgeRow, TaskRow
from services.ingest.writing import put


def find(session: Session, site: str, task_id: str) -> TaskRow:
    """A task of the site, as it is now; NotFoundError."""
    row = session.get(TaskRow, (site, task_id), populate_existing=True)
    if row is None:
        raise NotFoundError(f"There is no task {task_id} at this site.")
    return row


def next_claimable(
    session: Session, site: str, kinds: tuple[TaskKind, ...], now: datetime, lock: bool = False
) -> TaskRow | None:
    """The task to give out next: by priority, then fair between sites (fewest tasks running, then longest without a
    turn), then the oldest job first. A platform worker's site is PLATFORM_SITE.

    With `lock` it and its job are locked, and what others hold is passed over.
    """
    load = _running_by_site(now)
    query = (
        select(TaskRow)
        .join(JobRow, and_(JobRow.site == TaskRow.site, JobRow.id == TaskRow.job_id))
        .outerjoin(load, load.c.site == TaskRow.site)
        .outerjoin(ClaimTurnRow, ClaimTurnRow.site == TaskRow.site)
        .where(claimable(TaskRow, now), TaskRow.kind.in_([kind.value for kind in kinds]))
        .order_by(
            JobRow.priority.desc(),
            func.coalesce(load.c.tasks, 0),
            ClaimTurnRow.claimed_at.nulls_first(),
            JobRow.created_at,
            TaskRow.ordinal,
            TaskRow.id,
        )
        .limit(1)
    )
    if site != PLATFORM_SITE:
        query = query.where(TaskRow.site == site)
    if lock:
        query = query.with_for_update(of=[TaskRow, JobRow], skip_locked=True)
    return session.scalar(query.execution_options(populate_existing=True))


def _running_by_site(now: datetime) -> Subquery:
    """How many tasks each site has at work."""
    at_work = (TaskRow.status == Status.RUNNING, TaskRow.lease_until >= now)
    return select(TaskRow.site, func.count().label("tasks")).where(*at_work).group_by(TaskRow.site).subquery()


def with_lease_before(session: Session, end: datetime) -> list[TaskRow]:
    """Running tasks whose lease ends before `end`."""
    query = select(TaskRow).where(TaskRow.status == Status.RUNNING, TaskRow.lease_until < end)
    return list(session.scalars(query))


def running(session: Session, since: datetime) -> list[TaskRow]:
    """Running tasks, locked, whose lease had not ended by `since`; those that a unit of work holds just now, because
    their holder has reported, are left out."""
    query = select(TaskRow).where(TaskRow.status == Status.RUNNING, TaskRow.lease_until >= since)
    return list(session.scalars(query.with_for_update(skip_locked=True)))


def took_turn(session: Session, site: str, now: datetime) -> None:
    """The site was given a task."""
    put(session, ClaimTurnRow, {"site": site, "claimed_at": now})


def successors_released_by(session: Session, task: TaskRow) -> list[TaskRow]:
    """Waiting tasks all of whose predecessors are done, `task` being the last of them."""
    after = aliased(TaskRow)
    unfinished = (
        select(TaskEdgeRow.task_id)
        .join(after, and_(after.site == TaskEdgeRow.site, after.id == TaskEdgeRow.after_id))
        .where(TaskEdgeRow.site == task.site, after.job_id == task.job_id, after.status != Status.DONE)
    )
    waits_for_it = select(TaskEdgeRow.task_id).where(TaskEdgeRow.site == task.site, TaskEdgeRow.after_id == task.id)
    query = select(TaskRow).where(
        TaskRow.site == task.site,
        TaskRow.id.in_(waits_for_it),
        TaskRow.id.not_in(unfinished),
        TaskRow.status == Status.WAITING,
    )
    return list(session.scalars(query.order_by(TaskRow.ordinal)))


def predecessors(session: Session, task: TaskRow) -> list[TaskRow]:
    """The tasks that `task` waited for."""
    edges = select(TaskEdgeRow.after_id).where(TaskEdgeRow.site == task.site, TaskEdgeRow.task_id == task.id)
    query = select(TaskRow).where(TaskRow.site == task.site, TaskRow.id.in_(edges))
    return list(session.scalars(query.order_by(TaskRow.ordinal)))


def of_job(session: Session, site: str, job_id: str) -> list[TaskRow]:
    """A job's tasks in the order of its plan."""
    query = select(TaskRow).where(TaskRow.site == site, TaskRow.job_id == job_id)
    return list(session.scalars(query.order_by(TaskRow.ordinal)))


def unfinished(session: Session, site: str, job_id: str) -> list[TaskRow]:
    """Tasks of a job that are not over."""
    return [row for row in of_job(session, site, job_id) if not Status(row.status).over]


def let_die(session: Session, site: str, keys: set[str], now: datetime, after_s: float = 0) -> None:
    """These objects are named by nothing any more."""
    for key in sorted(keys):
        put(session, DyingObjectRow, {"site": site, "key": key, "due_at": now + seconds(after_s)})
