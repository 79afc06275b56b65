"""Whether any replica of ingest was there. Leases can't be renewed while none is, so afterwards they get one full term.

Every replica keeps one row fresh together with the others. Only a gap in it means that ingest was away (or the
database): a single replica that starts again finds the row fresh, and gives a dead trainer's lease no second life.
"""

import logging
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.ingest.database import seconds
from services.ingest.dependencies import Ingest
from services.ingest.outbox import NamedLeaseRow
from services.ingest.tasks import repository
from services.ingest.writing import insert_new

logger = logging.getLogger(__name__)

NAME = "ingest"
SHARE = 0.5
"""Of a lease's length: without a sign of life for longer, ingest was away. A trainer renews every third of a lease,
so what it missed for less than this it can still make up for."""
LEAST_S = 6.0
"""A shorter time says nothing: we look every two seconds, and a busy machine comes late."""
_NEVER = datetime(1970, 1, 2, tzinfo=UTC)


class Presence:
    """One of ingest's workers."""

    name = "presence"

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts

    def run_one(self) -> bool:
        """We are here."""
        keep(self._parts)
        return False


def keep(parts: Ingest) -> None:
    """Say that ingest is here, unless that was said lately; after a gap, extend the leases first.

    Whoever gives expired work away calls it before, so that no lease ends in the moment in which ingest comes back.
    """
    length = max(LEAST_S, parts.settings.lease_s * SHARE)
    with parts.database.read("*") as session:
        row = session.get(NamedLeaseRow, ("*", NAME))
        fresh = row is not None and row.lease_until > parts.database.now(session) + seconds(length * 2 / 3)
    if not fresh:
        _beat(parts, length)


def _beat(parts: Ingest, length: float) -> None:
    with parts.database.system() as session:
        row = _locked(session)
        if row is None:
            insert_new(session, NamedLeaseRow, [{"site": "*", "name": NAME, "holder": NAME, "lease_until": _NEVER}])
            row = _locked(session)
        assert row is not None
        now = parts.database.now(session)  # we may have waited for another replica
        if row.lease_until < now:
            _grant(session, now, row.lease_until - seconds(length), parts.settings.lease_s)
        row.lease_until = now + seconds(length)


def _locked(session: Session) -> NamedLeaseRow | None:
    query = select(NamedLeaseRow).where(NamedLeaseRow.site == "*", NamedLeaseRow.name == NAME)
    return session.scalar(query.with_for_update().execution_options(populate_existing=True))


def _grant(session: Session, now: datetime, last: datetime, term: float) -> None:
    """One full term for every lease, but for those that had ended while ingest was still there (until `last`)."""
    for task in repository.running(session, last):
        if task.lease_until is not None and task.lease_until < now + seconds(term):
            task.lease_until = now + seconds(term)
            logger.info("ingest was away; a lease gets one full term", extra={"task": task.id, "site": task.site})
