"""The rows of the audit log. There is no way to change or remove one."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.ingest.audit.tables import AuditHeadRow, AuditRow


def lock_head(session: Session, site: str) -> AuditHeadRow:
    """The site's newest entry's place, under its lock."""
    query = select(AuditHeadRow).where(AuditHeadRow.site == site).with_for_update()
    head = session.scalar(query)
    if head is None:
        head = AuditHeadRow(site=site, number=0, hash="")
        session.add(head)
    return head


def entries(session: Session, site: str, after: int, limit: int) -> list[AuditRow]:
    """Entries with a higher number, in order."""
    query = select(AuditRow).where(AuditRow.site == site, AuditRow.number > after)
    return list(session.scalars(query.order_by(AuditRow.number).limit(limit)))
