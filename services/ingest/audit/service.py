"""Who did what, in a chain of hashes, written in the transaction of the deed."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from aimic.domain.base import sha256_of
from services.ingest.audit import repository
from services.ingest.audit.schemas import AuditEntry
from services.ingest.audit.tables import AuditRow
from services.ingest.database import Database


def record(
    session: Session, now: datetime, site: str, principal: str, action: str, subject: str, **details: Any
) -> None:
    """Add an entry such as (`job.create`, job id). Details hold no name of a patient or file."""
    head = repository.lock_head(session, site)
    head.number += 1
    row = AuditRow(
        site=site,
        number=head.number,
        at=now,
        principal=principal,
        action=action,
        subject=subject,
        details=details,
        before=head.hash,
        hash="",
    )
    row.hash = head.hash = _hash(row)
    session.add(row)
    session.flush()


def entries(database: Database, site: str, after: int, limit: int) -> list[AuditEntry]:
    """Entries of a site after a number, in order."""
    with database.read(site) as session:
        rows = repository.entries(session, site, after, limit)
        return [AuditEntry.model_validate(row, from_attributes=True) for row in rows]


def first_broken(database: Database, site: str) -> int | None:
    """The number of the first entry that was changed, or before which one is missing; None when all is whole."""
    number, before = 0, ""
    while True:
        with database.read(site) as session:
            rows = repository.entries(session, site, number, 1000)
            for row in rows:
                if row.number != number + 1 or row.before != before or row.hash != _hash(row):
                    return number + 1
                number, before = row.number, row.hash
        if not rows:
            return None


def _hash(row: AuditRow) -> str:
    at = row.at.astimezone(UTC).isoformat(timespec="microseconds")
    return sha256_of([row.site, row.number, at, row.principal, row.action, row.subject, row.details, row.before])
