"""Jobs, their splits, and their progress."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.records import Base, BigInt, Json, Recorded, SiteRow


class JobKind(StrEnum):
    """A training is what a person calls a job; an evaluation is one too, with a single task."""

    TRAIN = "train"
    EVALUATE = "evaluate"


def model_name(asked: str | None, dataset: str, network: str, *, several: bool) -> str:
    """Name of the model that a network becomes, by the name asked for, if any."""
    if asked is None:
        return f"{dataset[:40]}-{network}"
    return f"{asked}-{network}" if several else asked


class JobRow(SiteRow, Recorded, Base):
    """A job. Its row is the lock under which its tasks change state and its sequence goes up."""

    __tablename__ = "jobs"
    __table_args__ = (
        ForeignKeyConstraint(["site", "dataset"], ["datasets.site", "datasets.name"]),
        Index(None, "site", "kind", "created_at", "id"),
        Index(None, "status"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    dataset: Mapped[str]
    version: Mapped[int]
    manifest_hash: Mapped[str]
    model: Mapped[str | None]
    """Name of the model to make; None: `<dataset>-<network>`."""
    settings: Mapped[dict[str, Any]] = mapped_column(Json)
    serve: Mapped[str]
    weights: Mapped[dict[str, Any]] = mapped_column(Json)
    """What the networks start from, resolved (jobs/weights.py)."""
    split: Mapped[dict[str, Any]] = mapped_column(Json)
    """The summary; the split itself is in `job_splits`."""
    findings: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    priority: Mapped[int] = mapped_column(default=0)
    status: Mapped[str]
    cancel: Mapped[bool] = mapped_column(default=False)
    error: Mapped[str | None] = mapped_column(Text)
    sequence: Mapped[int] = mapped_column(BigInt, default=0)
    """The newest progress event."""
    published: Mapped[int] = mapped_column(BigInt, default=0)
    """The newest sequence that the relay has told of."""
    finished_at: Mapped[datetime | None]
    traceparent: Mapped[str | None]
    """The trace in which it was started (W3C Trace Context)."""

    def model_name(self, network: str) -> str:
        """Name of the model that this network becomes; with several networks each has a name of its own."""
        return model_name(self.model, self.dataset, network, several=len(self.settings["networks"]) > 1)


class JobSplitRow(SiteRow, Base):
    """The division into folds. Apart, since it has a number per sample."""

    __tablename__ = "job_splits"
    __table_args__ = (ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"]),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[str] = mapped_column(Text)
    """JSON of aimic.domain.split.Split."""


class LockedRow(SiteRow, Base):
    """An image of a job's locked test part, by all that it can be known by in another data set."""

    __tablename__ = "locked_samples"
    __table_args__ = (
        ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"]),
        Index(None, "site", "sha256"),
        Index(None, "site", "pixel_sha256"),
        Index(None, "site", "group_key"),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(primary_key=True)
    pixel_sha256: Mapped[str]
    group_key: Mapped[str | None]
    """Keyed hash of the patient or slide."""


class ProgressRow(SiteRow, Base):
    """One event of a job. Of batch events only the newest of each task is kept; of an epoch done twice
    (after a crash), the second."""

    __tablename__ = "progress"
    __table_args__ = (
        ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"]),
        Index(None, "site", "task_id", "kind"),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInt, primary_key=True, autoincrement=False)
    task_id: Mapped[str | None]
    kind: Mapped[str]
    epoch: Mapped[int | None]
    data: Mapped[dict[str, Any]] = mapped_column(Json)
    at: Mapped[datetime]
