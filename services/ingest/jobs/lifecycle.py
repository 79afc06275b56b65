"""How a job and its tasks change state. Every function runs inside one unit of work that holds the job's lock."""

from datetime import datetime

from sqlalchemy.orm import Session

from aimic.domain.job import Status
from aimic.domain.work import WEIGHTS_OBJECT
from aimic.events import TaskReady
from services.ingest.jobs.journal import tell_status
from services.ingest.jobs.tables import JobRow
from services.ingest.outbox import post
from services.ingest.tasks import repository
from services.ingest.tasks.tables import TaskRow


def wake(session: Session, task: TaskRow, now: datetime) -> None:
    """Tell the workers that this task can be claimed."""
    message = TaskReady(site=task.site, aggregate=task.id, sequence=task.fence + 1, kind=task.kind)
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
    if not repository.unfinished(session, job.site, job.id):
        tell_status(session, job, now, Status.DONE, "The job is done.")
        _drop_weights(session, job, now)


def failed(session: Session, job: JobRow, task: TaskRow, now: datetime, reason: str) -> None:
    """The task can't be done, so the job has failed; its other tasks are cancelled."""
    task.error, task.lease_until = reason, None
    tell_status(session, job, now, Status.FAILED, reason, task)
    session.flush()
    _cancel_rest(session, job, now, f"Not needed any more, since {task.key} failed.")
    job.error = f"{task.key} could not be done: {reason}"
    tell_status(session, job, now, Status.FAILED, job.error)
    _drop_weights(session, job, now)


def cancelled(session: Session, job: JobRow, now: datetime, by: str) -> None:
    """A person stopped the job. Workers hear of it at their next renewal."""
    job.cancel = True
    _cancel_rest(session, job, now, f"Cancelled by {by}.")
    tell_status(session, job, now, Status.CANCELLED, f"Cancelled by {by}. What was done is kept.")
    _drop_weights(session, job, now)


def _cancel_rest(session: Session, job: JobRow, now: datetime, message: str) -> None:
    for task in repository.unfinished(session, job.site, job.id):
        tell_status(session, job, now, Status.CANCELLED, message, task)
        task.lease_until = None
        drop_checkpoint(session, task, now)


def drop_checkpoint(session: Session, task: TaskRow, now: datetime) -> None:
    """Nobody will go on from the checkpoint; what the result names is kept."""
    keys = set(task.checkpoint.values()) - set(task.objects.values())
    repository.let_die(session, task.site, keys, now)
    task.checkpoint = {}


def _drop_weights(session: Session, job: JobRow, now: datetime) -> None:
    """Weights that were left for later tasks are in the bundle, or of no use; logits and results are kept."""
    for task in repository.of_job(session, job.site, job.id):
        if key := task.objects.get(WEIGHTS_OBJECT):
            repository.let_die(session, task.site, {key}, now)
