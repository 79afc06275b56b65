"""Evaluations, and openings of locked test parts."""

from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.records import Base, Json, Recorded, SiteRow


class EvaluationRow(SiteRow, Recorded, Base):
    """A model judged on a data set version. Its job has the same id and knows its state."""

    __tablename__ = "evaluations"
    __table_args__ = (
        ForeignKeyConstraint(["site", "id"], ["jobs.site", "jobs.id"]),
        ForeignKeyConstraint(
            ["site", "model", "model_version"],
            ["model_versions.site", "model_versions.name", "model_versions.version"],
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    model_version: Mapped[int]
    indices: Mapped[list[int]] = mapped_column(Json)
    """Samples to judge: positions in the manifest."""
    left_out: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    judged: Mapped[int] = mapped_column(default=0)
    metrics: Mapped[dict[str, Any] | None] = mapped_column(Json)


class OpeningRow(SiteRow, Recorded, Base):
    """One opening of the locked test part of a training job, by an evaluation."""

    __tablename__ = "locked_openings"
    __table_args__ = (
        ForeignKeyConstraint(["site", "evaluation_id"], ["evaluations.site", "evaluations.id"]),
        ForeignKeyConstraint(["site", "job_id"], ["jobs.site", "jobs.id"]),
        Index(None, "site", "job_id"),
    )

    evaluation_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    images: Mapped[int]
