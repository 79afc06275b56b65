"""What a holder reports while it works: it lives, how far it is, what it has saved, that it gives up."""

import json
from typing import Any

from aimic import faults
from aimic.domain.job import ProgressKind, Status
from aimic.domain.work import (
    MAX_ATTEMPTS,
    CheckpointReport,
    FailReport,
    ProgressItem,
    ProgressReport,
    Renewal,
)
from aimic.errors import ConflictError, InvalidInputError, TooLargeError
from services.ingest import leases
from services.ingest.database import Database
from services.ingest.jobs import lifecycle
from services.ingest.jobs.journal import newest_batch_at, tell, tell_status
from services.ingest.tasks import repository, tokens
from services.ingest.tasks.holding import Held, holding, locked, same_fence
from services.ingest.tasks.tokens import TaskToken
from services.ingest.tasks.values import finite

EVENT_LIMIT = 16 * 1024
"""Bytes of one progress event's data as JSON."""


def renew(database: Database, token: TaskToken, fence: int, lease_s: float) -> Renewal:
    """One more term for the holder, with a fresh token; `cancel` when the work is not wanted any more."""
    same_fence(token, fence)
    fresh = tokens.sign(tokens.secret_of(database), token)
    with locked(database, token) as held:
        if held.task.status == Status.CANCELLED and held.task.fence == fence:
            return Renewal(lease_s=lease_s, cancel=True, token=fresh)
        leases.extend(held.task, fence, held.now, lease_s)
    return Renewal(lease_s=lease_s, cancel=False, token=fresh)


def progress(database: Database, token: TaskToken, report: ProgressReport) -> None:
    """Keep and tell the events, in order."""
    same_fence(token, report.fence)
    for event in report.events:
        if len(json.dumps(event.data)) > EVENT_LIMIT:
            raise TooLargeError(f"A progress event has at most {EVENT_LIMIT} bytes.")
    events = [event.model_copy(update={"data": finite(event.data)}) for event in report.events]
    with holding(database, token) as held:
        for event in events:
            _note(held, event)
            tell(held.session, held.job, held.now, event.kind, event.data, held.task)


def _note(held: Held, event: ProgressItem) -> None:
    task, data = held.task, event.data
    if event.kind is ProgressKind.BATCH:
        for name in ("epoch", "epochs", "batch", "batches", "images_per_s"):
            _number(data, name)
        if data.get("phase") == "heads":
            _time_heads(held, data)
        task.batch = data
    elif event.kind is ProgressKind.EPOCH:
        task.epochs_done = int(_number(data, "epoch"))
        task.epochs_total = int(_number(data, "epochs")) or None
        task.epoch_s = _number(data, "seconds") or None


def _time_heads(held: Held, data: dict[str, Any]) -> None:
    """Seconds per fold's head, from when the report before this one came."""
    task, before = held.task, held.task.batch or {}
    fitted = _number(data, "batch") - _number(before, "batch")
    at = newest_batch_at(held.session, task)
    if before.get("phase") == "heads" and fitted > 0 and at is not None:
        task.epoch_s = (held.now - at).total_seconds() / fitted


def _number(data: dict[str, Any], name: str) -> float:
    """What later arithmetic rests on; 0 when it isn't said."""
    value = data.get(name)
    if value is not None and (not isinstance(value, int | float) or not 0 <= value < 1e9):
        raise InvalidInputError(f"In a progress event {name!r} is a number, not {str(value)[:50]!r}.")
    return value or 0


def checkpoint(database: Database, token: TaskToken, report: CheckpointReport) -> None:
    """Make this the newest checkpoint, whole; the objects of the one before are let go."""
    same_fence(token, report.fence)
    with holding(database, token) as held:
        task = held.task
        if task.checkpoint_step is not None and report.step <= task.checkpoint_step:
            if report.step == task.checkpoint_step and report.objects == task.checkpoint:
                return  # the answer to the first try was lost
            raise ConflictError(f"The newest checkpoint is of step {task.checkpoint_step}, not before {report.step}.")
        old = set(task.checkpoint.values()) - set(report.objects.values())
        repository.let_die(held.session, task.site, old, held.now)
        task.checkpoint, task.checkpoint_step = report.objects, report.step
        task.attempt = 0
        faults.point("ingest.checkpoint.before")
    faults.point("ingest.checkpoint.committed")


def fail(database: Database, token: TaskToken, report: FailReport) -> None:
    """The holder gives up: another attempt, or the end of the job with the worker's words."""
    same_fence(token, report.fence)
    with holding(database, token) as held:
        task = held.task
        task.error, task.detail = report.reason, report.detail
        if report.retry and task.attempt < MAX_ATTEMPTS:
            words = f"{task.key} stopped ({report.reason}) and is tried again."
            lifecycle.ready_again(held.session, held.job, task, held.now, words)
            return
        lifecycle.failed(held.session, held.job, task, held.now, report.reason)


def release(database: Database, token: TaskToken, fence: int) -> None:
    """The holder hands the task back; the attempt isn't counted."""
    same_fence(token, fence)
    with locked(database, token) as held:
        if not _hand_back(held, fence):
            return
        words = f"{held.task.key} was handed back and waits for a worker."
        lifecycle.ready_again(held.session, held.job, held.task, held.now, words)


def take_back(database: Database, token: TaskToken) -> None:
    """The holder never heard of its claim, since something is away; the attempt isn't counted. This wakes nobody: who
    was woken would ask again at once, for as long as that is away. Workers ask by themselves, and the relay tells
    each minute what is open."""
    with locked(database, token) as held:
        if _hand_back(held, token.fence):
            words = f"{held.task.key} could not be given out just now and waits for a worker."
            tell_status(held.session, held.job, held.now, Status.READY, words, held.task)


def _hand_back(held: Held, fence: int) -> bool:
    """False when there is nothing to hand back, since the task was cancelled."""
    if held.task.status == Status.CANCELLED and held.task.fence == fence:
        return False
    leases.hand_back(held.task, fence)
    return True


def fail_to_describe(database: Database, token: TaskToken) -> None:
    """We could not say what the task needs, so the next worker may ask; this counts as an attempt."""
    with holding(database, token) as held:
        held.task.error = "what the task needs (its images' list, or earlier results) could not be read"
        words = f"{held.task.key} could not be given out and is tried again."
        lifecycle.ready_again(held.session, held.job, held.task, held.now, words)
