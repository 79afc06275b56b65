"""A unit of work in which a worker's token is checked against the task, under the job's lock."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from aimic.errors import NotAuthenticatedError, StaleFenceError
from services.ingest.database import Database
from services.ingest.jobs import repository as jobs
from services.ingest.jobs.tables import JobRow
from services.ingest.leases import check_fence
from services.ingest.tasks import repository
from services.ingest.tasks.tables import TaskRow
from services.ingest.tasks.tokens import TaskToken


@dataclass(frozen=True)
class Held:
    """A task that its holder acts on."""

    session: Session
    job: JobRow
    task: TaskRow
    now: datetime


def same_fence(token: TaskToken, fence: int) -> None:
    """The request must speak for the same claim as its token."""
    if token.fence != fence:
        raise StaleFenceError("This call's fence is not its token's; nothing that you sent was taken.")


@contextlib.contextmanager
def locked(database: Database, token: TaskToken) -> Iterator[Held]:
    """The task under the job's lock, whatever its state."""
    with database.begin(token.site) as session:
        job_id = repository.find(session, token.site, token.task).job_id
        job = jobs.lock(session, token.site, job_id)
        task = repository.find(session, token.site, token.task)
        yield Held(session, job, task, database.now(session))


@contextlib.contextmanager
def holding(database: Database, token: TaskToken) -> Iterator[Held]:
    """The same, and only while the task runs under the token's fence; StaleFenceError otherwise."""
    with locked(database, token) as held:
        check_fence(held.task, token.fence)
        yield held


def look(session: Session, token: TaskToken) -> TaskRow:
    """The running task of this token, to read only."""
    task = repository.find(session, token.site, token.task)
    check_fence(task, token.fence)
    return task


def of_task(token: TaskToken, task_id: str) -> TaskToken:
    """A token opens its own task only."""
    if token.task != task_id:
        raise NotAuthenticatedError("This token belongs to another task.")
    return token
