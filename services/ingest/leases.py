"""Claim, lease and fence, as columns and rules that every kind of work shares.

The row is the queue: `ready`, or `running` with a lease that has run out, may be claimed. Each claim makes
the fence go up by one; whoever comes with an older fence has lost the work and writes nothing.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, String, and_, or_
from sqlalchemy.orm import Mapped, mapped_column

from aimic.domain.job import Status
from aimic.errors import StaleFenceError
from services.ingest.database import seconds


class Leased:
    """Columns of work that is claimed."""

    status: Mapped[str] = mapped_column(String(20), index=True, sort_order=80)
    attempt: Mapped[int] = mapped_column(default=0, sort_order=81)
    """Claims since the last recorded headway."""
    fence: Mapped[int] = mapped_column(default=0, sort_order=82)
    holder: Mapped[str | None] = mapped_column(sort_order=83)
    lease_until: Mapped[datetime | None] = mapped_column(sort_order=84)


def claimable(row: type[Leased], now: datetime) -> ColumnElement[bool]:
    """SQL condition: ready, or its holder's lease has run out."""
    expired = and_(row.status == Status.RUNNING, row.lease_until < now)
    return or_(row.status == Status.READY, expired)


def take(row: Leased, holder: str, now: datetime, lease_s: float) -> int:
    """Give the work to `holder`; the new fence."""
    row.status, row.holder = Status.RUNNING, holder
    row.attempt += 1
    row.fence += 1
    row.lease_until = now + seconds(lease_s)
    return row.fence


def extend(row: Leased, fence: int, now: datetime, lease_s: float) -> None:
    """Renew a lease. One that has run out but wasn't given away may be renewed by its holder."""
    check_fence(row, fence)
    row.lease_until = now + seconds(lease_s)


def hand_back(row: Leased, fence: int) -> None:
    """Give the work up for the next one to claim; the attempt isn't counted."""
    check_fence(row, fence)
    row.status, row.holder, row.lease_until = Status.READY, None, None
    row.attempt = max(0, row.attempt - 1)


def check_fence(row: Leased, fence: int) -> None:
    """StaleFenceError unless the work is running under exactly this fence."""
    if row.status != Status.RUNNING or row.fence != fence:
        raise StaleFenceError(
            "This work was given to another worker, or is over; nothing that you sent was taken. Claim anew."
        )
