"""Tasks, what they wait for, and what is to be removed."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.leases import Leased
from services.ingest.records import Base, Json, SiteRow


class TaskRow(SiteRow, Leased, Base):
    """A node of a job's graph. This row is the queue."""

    __tablename__ = "tasks"
    __table_args__ = (
        ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"]),
        UniqueConstraint("site", "job_id", "key"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str]
    ordinal: Mapped[int]
    """Place in the job's plan."""
    key: Mapped[str]
    kind: Mapped[str]
    network: Mapped[str]
    fold: Mapped[int | None]
    checkpoint_step: Mapped[int | None]
    checkpoint: Mapped[dict[str, str]] = mapped_column(Json, default=dict)
    """Keys of the newest checkpoint's objects, by name."""
    result: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    objects: Mapped[dict[str, str]] = mapped_column(Json, default=dict)
    """Keys of the result's objects, by name."""
    batch: Mapped[dict[str, Any] | None] = mapped_column(Json)
    """Data of the newest batch event."""
    epochs_done: Mapped[int] = mapped_column(default=0)
    epochs_total: Mapped[int | None]
    epoch_s: Mapped[float | None]
    """Seconds of the newest epoch, or of the newest head of a frozen task."""
    error: Mapped[str | None] = mapped_column(Text)
    """Plain words; while attempts are left, the last words of the attempt before."""
    detail: Mapped[str | None] = mapped_column(Text)


class TaskEdgeRow(SiteRow, Base):
    """`task_id` waits for `after_id`."""

    __tablename__ = "task_edges"
    __table_args__ = (
        ForeignKeyConstraint(["site", "task_id"], ["tasks.site", "tasks.id"]),
        ForeignKeyConstraint(["site", "after_id"], ["tasks.site", "tasks.id"]),
    )

    task_id: Mapped[str] = mapped_column(primary_key=True)
    after_id: Mapped[str] = mapped_column(primary_key=True, index=True)


class ClaimTurnRow(SiteRow, Base):
    """When a site was last given a task; the one that waited longest comes first."""

    __tablename__ = "claim_turns"

    claimed_at: Mapped[datetime]


class DyingObjectRow(SiteRow, Base):
    """An object that nothing names any more; the sweeper removes it. A key that ends in `/` stands for a task:
    whatever lies below it and isn't in its result."""

    __tablename__ = "dying_objects"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)


class SecretRow(SiteRow, Base):
    """A secret that all replicas share, made at first use."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
