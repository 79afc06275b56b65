"""The audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.records import Base, BigInt, Json, SiteRow


class AuditHeadRow(SiteRow, Base):
    """The newest entry of a site; its row is the lock under which entries are numbered."""

    __tablename__ = "audit_heads"

    number: Mapped[int] = mapped_column(BigInt, default=0)
    hash: Mapped[str]


class AuditRow(SiteRow, Base):
    """One entry. `hash` covers the entry and the hash before it, so none can be changed or left out unseen."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    principal: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(Json)
    before: Mapped[str]
    hash: Mapped[str]
