"""Giving out work: one task to one worker, under a lease and a fence."""

import logging
import random
import time

from sqlalchemy.orm import Session

from aimic import faults
from aimic.domain.site import Principal
from aimic.domain.work import MAX_ATTEMPTS, Claim, ClaimRequest
from aimic.errors import StaleFenceError, UnavailableError
from services.ingest import leases
from services.ingest.dependencies import Ingest
from services.ingest.jobs import lifecycle
from services.ingest.jobs import repository as jobs
from services.ingest.tasks import presence, reporting, repository, tokens
from services.ingest.tasks.specification import claim_of, fetch
from services.ingest.tasks.tables import TaskRow
from services.ingest.tasks.tokens import TaskToken

logger = logging.getLogger(__name__)

NO_WORDS = (
    "the training process ended without a word, three times in a row. Perhaps the machine had too little memory: "
    "try a smaller batch size or image size"
)
PATIENCE_S = 45.0
"""A worker waits a minute for the answer (services/trainer/api.py): a task given later would be given to nobody."""
LATE_SHARE = 1 / 3
"""Of a lease: when describing the task took longer, it begins anew with the answer."""
BEST_S = 0.3
"""Seconds for which a claim insists on the task that comes first, while another unit of work holds its job."""
ANY_S = 3.0
"""Seconds after which a claim goes home, when units of work hold every job that has something to do."""


def claim(parts: Ingest, principal: Principal, request: ClaimRequest) -> Claim | None:
    """The next task that fits the worker, or None. Two workers never hold the same task.

    UnavailableError while the store is away or slow; nothing is taken then, since no task could be described.
    """
    began = time.monotonic()
    presence.keep(parts)
    best = _best(parts, principal, request)
    if best is None:
        return None
    parts.blobs.ping()
    _fetch(parts, *best)
    _check_time(began)
    secret = tokens.secret_of(parts.database)
    token = _take(parts, principal, request)
    if token is None:
        return None
    faults.point("ingest.claim.committed")
    taken = time.monotonic()
    try:
        _note_turn(parts, token.site)
        answer = claim_of(parts, token, tokens.sign(secret, token))
        _check_time(began)
        if time.monotonic() - taken > LATE_SHARE * parts.settings.lease_s:
            reporting.renew(parts.database, token, token.fence, parts.settings.lease_s)
        return answer
    except UnavailableError:
        reporting.take_back(parts.database, token)
        raise
    except StaleFenceError:
        return None  # cancelled meanwhile, or another has it
    except Exception:
        # The worker never hears of this claim, so it is as if it had handed the task back.
        logger.exception("a claimed task could not be described", extra={"task": token.task})
        reporting.fail_to_describe(parts.database, token)
        raise


def _best(parts: Ingest, principal: Principal, request: ClaimRequest) -> tuple[str, str] | None:
    """Site and id of the task that comes first, if any."""
    # Idle workers ask often; they must not queue for the writer's lock.
    with parts.database.read(principal.site) as session:
        now = parts.database.now(session)
        task = repository.next_claimable(session, principal.site, request.kinds, now)
    return None if task is None else (task.site, task.id)


def _fetch(parts: Ingest, site: str, task_id: str) -> None:
    """Have in memory what describing the task needs: a lease must not pass while a slow store is read."""
    try:
        fetch(parts, site, task_id)
    except UnavailableError:
        raise
    except Exception:
        # Whatever is damaged is met again once the task is taken; then it counts as an attempt and is told.
        logger.info("what a task needs can't be read", exc_info=True, extra={"task": task_id})


def _check_time(began: float) -> None:
    if time.monotonic() - began > PATIENCE_S:
        raise UnavailableError("Reading what the next task needs took too long; ask again.", retry_after_s=1)


def _take(parts: Ingest, principal: Principal, request: ClaimRequest) -> TaskToken | None:
    """Claims never wait for a row's lock, so none hangs behind another that hangs. But a job is locked for some
    milliseconds many times a minute, which must not send its trainers to work of less priority or away."""
    began = time.monotonic()
    while True:
        waited = time.monotonic() - began
        with parts.database.begin(principal.site) as session:
            now = parts.database.now(session)
            best = repository.next_claimable(session, principal.site, request.kinds, now)
            if best is None:
                return None
            task = repository.next_claimable(session, principal.site, request.kinds, now, lock=True)
            if task is not None and (task is best or waited > BEST_S):
                if token := _give(parts, session, task, request.worker):
                    return token
                continue
        if waited > ANY_S:
            return None
        time.sleep(random.uniform(0.005, 0.03))  # noqa: S311 - so that two don't meet again


def _give(parts: Ingest, session: Session, task: TaskRow, worker: str) -> TaskToken | None:
    """Under the lock on the task and its job; None when the task was tried often enough, and has failed now."""
    now = parts.database.now(session)
    job = jobs.lock(session, task.site, task.job_id)
    if task.attempt >= MAX_ATTEMPTS:
        lifecycle.failed(session, job, task, now, task.error or NO_WORDS)
        return None
    leases.take(task, worker, now, parts.settings.lease_s)
    lifecycle.started(session, job, task, now)
    faults.point("ingest.claim.before")
    return TaskToken(task.site, task.id, task.fence)


def _note_turn(parts: Ingest, site: str) -> None:
    # Not in the claim's own unit of work: a site's claims would queue for its row.
    with parts.database.begin(site) as session:
        repository.took_turn(session, site, parts.database.now(session))
