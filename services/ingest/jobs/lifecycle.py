"""How a job and its tasks change state. Every function runs inside one unit of work that holds the job's lock."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from aimic.domain.job import ProgressKind, Status, TaskKind
from aimic.domain.work import WEIGHTS_OBJECT
from aimic.events import TaskReady
from aimic.telemetry import traceparent
from services.ingest.jobs.journal import tell, tell_status
from services.ingest.jobs.tables import JobRow
from services.ingest.outbox import post
from services.ingest.tasks import repository
from services.ingest.tasks.tables import TaskRow
from services.ingest.tasks.values import prefix_of

LEFTOVERS_AFTER_S = 900
"""Seconds after a job's end for which a worker that hasn't heard of it may still write."""


def wake(session: Session, task: TaskRow, now: datetime) -> None:
    """Tell the workers that this task can be claimed."""
    message = TaskReady(
        site=task.site,
        aggregate=task.id,
        sequence=task.fence + 1,
        traceparent=traceparent.get(),
        kind=task.kind,
    )
    post(session, message, now)


def started(session: Session, job: JobRow, task: TaskRow, now: datetime) -> None:
    """A task was given to a worker."""
    if job.status == Status.READY:
        tell_status(session, job, now, Status.RUNNING, "The job has begun.")
    words = f"{task.key} has begun." if task.fence == 1 else f"{task.key} goes on."
    tell_status(session, job, now, Status.RUNNING, words, task)


def ready_again(session: Session, job: JobRow, task: TaskRow, now: datetime, message: str) -> None:
    """The task may be claimed once more."""
    task.holder, task.lease_until = None, None
    tell_status(session, job, now, Status.READY, message, task)
    wake(session, task, now)


def done(session: Session, job: JobRow, task: TaskRow, now: datetime) -> None:
    """The task is done: release what waited for it, and end the job with the last one."""
    task.lease_until = None
    tell_status(session, job, now, Status.DONE, f"{task.key} is done.", task)
    session.flush()
    for successor in repository.successors_released_by(session, task):
        tell_status(session, job, now, Status.READY, f"{successor.key} can begin.", successor)
        wake(session, successor, now)
    _end_if_over(session, job, now)


def failed(session: Session, job: JobRow, task: TaskRow, now: datetime, reason: str) -> None:
    """The task can't be done, so its network has failed; the job's other networks go on, and it ends with them."""
    task.error, task.lease_until = reason, None
    tell_status(session, job, now, Status.FAILED, reason, task)
    drop_checkpoint(session, task, now)
    session.flush()
    rest = repository.unfinished(session, job.site, job.id)
    mine = [other for other in rest if other.network == task.network]
    _cancel(session, job, mine, now, f"Not needed any more, since {task.key} failed.")
    session.flush()
    if len(rest) > len(mine):
        message = f"{task.key} could not be done: {_sentence(reason)} The other networks go on."
        tell(session, job, now, ProgressKind.WARNING, {"message": message}, task)
    _end_if_over(session, job, now)


def _end_if_over(session: Session, job: JobRow, now: datetime) -> None:
    tasks = repository.of_job(session, job.site, job.id)
    if not all(Status(task.status).over for task in tasks):
        return
    broken = [task for task in tasks if task.status == Status.FAILED]
    if broken:
        job.error = _why(tasks, broken)
        tell_status(session, job, now, Status.FAILED, job.error)
    else:
        tell_status(session, job, now, Status.DONE, "The job is done.")
    _drop_leftovers(session, tasks, now)


def _why(tasks: Sequence[TaskRow], broken: Sequence[TaskRow]) -> str:
    reasons = " ".join(f"{task.key} could not be done: {_sentence(task.error or '')}" for task in broken)
    kept = [task.network for task in tasks if task.kind == TaskKind.PACKAGE and task.status == Status.DONE]
    if not kept:
        return reasons
    return f"{reasons} The model{'s' * (len(kept) > 1)} of {', '.join(kept)} {'is' if len(kept) == 1 else 'are'} kept."


def _sentence(words: str) -> str:
    return words.rstrip(". ") + "."


def cancelled(session: Session, job: JobRow, now: datetime, by: str) -> None:
    """A person stopped the job. Workers hear of it at their next renewal."""
    job.cancel = True
    _cancel(session, job, repository.unfinished(session, job.site, job.id), now, f"Cancelled by {by}.")
    tell_status(session, job, now, Status.CANCELLED, f"Cancelled by {by}. What was done is kept.")
    _drop_leftovers(session, repository.of_job(session, job.site, job.id), now)


def _cancel(session: Session, job: JobRow, tasks: Sequence[TaskRow], now: datetime, message: str) -> None:
    for task in tasks:
        tell_status(session, job, now, Status.CANCELLED, message, task)
        task.lease_until = None
        drop_checkpoint(session, task, now)


def drop_checkpoint(session: Session, task: TaskRow, now: datetime) -> None:
    """Nobody will go on from the checkpoint; what the result names is kept."""
    keys = set(task.checkpoint.values()) - set(task.objects.values())
    repository.let_die(session, task.site, keys, now)
    task.checkpoint = {}


def _drop_leftovers(session: Session, tasks: Sequence[TaskRow], now: datetime) -> None:
    """Weights that were left for later tasks are in the bundle, or of no use; logits and results are kept. What
    killed, late and cancelled workers wrote and never reported is removed too, once none of them writes any more."""
    for task in tasks:
        if key := task.objects.get(WEIGHTS_OBJECT):
            repository.let_die(session, task.site, {key}, now)
        repository.let_die(session, task.site, {prefix_of(task.site, task.id)}, now, LEFTOVERS_AFTER_S)
