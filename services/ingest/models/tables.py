"""Named models and their versions."""

from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.records import Base, BigInt, Json, Recorded, SiteRow


class ModelRow(SiteRow, Recorded, Base):
    """A name. Its row is the lock under which versions are numbered and promoted."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    versions: Mapped[int] = mapped_column(default=0)
    sequence: Mapped[int] = mapped_column(BigInt, default=0)
    """Changes to what should be served."""


class ModelVersionRow(SiteRow, Recorded, Base):
    """A registered bundle. Immutable but for its stage."""

    __tablename__ = "model_versions"
    __table_args__ = (
        ForeignKeyConstraint(["site", "name"], ["models.site", "models.name"]),
        ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"]),
        Index(None, "site", "created_at"),
        Index(None, "site", "job_id"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bundle_hash: Mapped[str]
    bundle_key: Mapped[str]
    """The exported bundle file."""
    size: Mapped[int] = mapped_column(BigInt)
    network: Mapped[str]
    classes: Mapped[list[str]] = mapped_column(Json)
    stage: Mapped[str]
    metrics: Mapped[dict[str, Any]] = mapped_column(Json)
    manifest_hash: Mapped[str]
    job_id: Mapped[str | None]
    dataset: Mapped[str | None]
    dataset_version: Mapped[int | None]


class ExecutorRow(SiteRow, Recorded, Base):
    """With what a bundle runs on one class of machines. Written once."""

    __tablename__ = "executors"

    bundle_hash: Mapped[str] = mapped_column(primary_key=True)
    machine_class: Mapped[str] = mapped_column(primary_key=True)
    executor: Mapped[str]
    choice: Mapped[dict[str, Any]] = mapped_column(Json)
    """All that was measured."""
