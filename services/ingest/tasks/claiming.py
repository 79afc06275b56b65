"""Giving out work: one task to one worker, under a lease and a fence."""

import logging

from sqlalchemy.orm import Session

from aimic import faults
from aimic.domain.job import Status
from aimic.domain.site import Principal
from aimic.domain.work import MAX_ATTEMPTS, Claim, ClaimRequest
from services.ingest import leases
from services.ingest.database import seconds
from services.ingest.dependencies import Ingest
from services.ingest.jobs import lifecycle
from services.ingest.jobs import repository as jobs
from services.ingest.tasks import reporting, repository, tokens
from services.ingest.tasks.specification import claim_of
from services.ingest.tasks.tables import TaskRow
from services.ingest.tasks.tokens import TaskToken

logger = logging.getLogger(__name__)

NO_WORDS = (
    "the training process ended without a word, three times in a row. Perhaps the machine had too little memory: "
    "try a smaller batch size or image size"
)


def claim(parts: Ingest, principal: Principal, request: ClaimRequest) -> Claim | None:
    """The next task that fits the worker, or None. Two workers never hold the same task."""
    if not _anything(parts, principal, request):
        return None
    taken = _take(parts, principal, request)
    if taken is None:
        return None
    faults.point("ingest.claim.committed")
    token, text = taken
    try:
        return claim_of(parts, token, text)
    except Exception:
        # The worker never hears of this claim, so it is as if it had handed the task back.
        logger.exception("a claimed task could not be described", extra={"task": token.task})
        reporting.fail_to_describe(parts.database, token)
        raise


def _anything(parts: Ingest, principal: Principal, request: ClaimRequest) -> bool:
    # Idle workers ask often; they must not queue for the writer's lock.
    with parts.database.read(principal.site) as session:
        now = parts.database.now(session)
        return repository.next_claimable(session, principal.site, request.kinds, now) is not None


def _take(parts: Ingest, principal: Principal, request: ClaimRequest) -> tuple[TaskToken, str] | None:
    with parts.database.begin(principal.site) as session:
        now = parts.database.now(session)
        while (task := repository.next_claimable(session, principal.site, request.kinds, now)) is not None:
            job = jobs.lock(session, task.site, task.job_id)
            if task.attempt >= MAX_ATTEMPTS:
                lifecycle.failed(session, job, task, now, task.error or NO_WORDS)
                session.flush()
                continue
            leases.take(task, request.worker, now, parts.settings.lease_s)
            repository.took_turn(session, task.site, now)
            lifecycle.started(session, job, task, now)
            faults.point("ingest.claim.before")
            return _token(session, task)
    return None


def _token(session: Session, task: TaskRow) -> tuple[TaskToken, str]:
    token = TaskToken(task.site, task.id, task.fence)
    return token, tokens.sign(tokens.secret_of(session, create=True), token)


def grant_full_term(parts: Ingest) -> None:
    """After ingest was away nobody could renew, so every lease gets one full term."""
    term = seconds(parts.settings.lease_s)
    with parts.database.system() as session:
        now = parts.database.now(session)
        for task in repository.with_lease_before(session, now + term):
            assert task.status == Status.RUNNING
            task.lease_until = now + term
