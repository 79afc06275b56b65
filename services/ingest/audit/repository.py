"""The rows of the audit log. There is no way to change or remove one."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.ingest.audit.tables import AuditHeadRow, AuditRow
from services.ingest.writing import insert_new


def lock_head(session: Session, site: str) -> AuditHeadRow:
    """The site's newest entry's place, under its lock: the last that a unit of work takes, since all wait for it."""
    query = select(AuditHeadRow).where(AuditHeadRow.site == site).with_for_update()
    query = query.execution_options(populate_existing=True)
    head = session.scalar(query)
    if head is None:
        insert_new(session, AuditHeadRow, [{"site": site, "number": 0, "hash": ""}])
        head = session.scalars(query).one()
    return head


def entries(session: Session, site: str, after: int, limit: int) -> list[AuditRow]:
    """Entries with a higher number, in order."""
    query = select(AuditRow).where(AuditRow.site == site, AuditRow.number > after)
    return list(session.scalars(query.order_by(AuditRow.number).limit(limit)))
