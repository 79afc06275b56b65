"""Messages written in the same transaction as what they tell of; the relay publishes and removes them."""

from datetime import datetime

from sqlalchemy.orm import Mapped, Session, mapped_column

from aimic.domain.base import Value
from aimic.events import Message
from services.ingest.database import announce
from services.ingest.records import Base, BigInt, Json, SiteRow
from services.ingest.writing import put

RELAY = "relay"
"""Name of the relay's worker."""


class OutboxRow(SiteRow, Base):
    """A message not yet known to be published."""

    __tablename__ = "outbox"

    topic: Mapped[str] = mapped_column(primary_key=True)
    aggregate: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    body: Mapped[dict[str, object]] = mapped_column(Json)
    created_at: Mapped[datetime]


class NamedLeaseRow(SiteRow, Base):
    """Something that one process does for all, such as relaying."""

    __tablename__ = "named_leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    lease_until: Mapped[datetime]


def post(session: Session, message: Message, now: datetime) -> None:
    """Publish `message` once this unit of work is committed. Posting a message again is harmless."""
    row = {
        "site": message.site,
        "topic": message.topic,
        "aggregate": message.aggregate,
        "sequence": message.sequence,
        "body": Value.model_dump(message, mode="json"),
        # Newer each time, so that a relay which publishes the earlier one leaves this one in its place.
        "created_at": now,
    }
    put(session, OutboxRow, row)
    announce(session, RELAY)
