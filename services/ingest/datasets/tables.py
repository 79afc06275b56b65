"""Data sets, their versions, the samples they share, and the guarded names."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKeyConstraint, Index, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.records import Base, BigInt, Json, Recorded, SiteRow


class ObjectRow(SiteRow, Base):
    """A content-addressed object of a site. Locked to add a reference; dying ones are given none."""

    __tablename__ = "objects"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(default=0)
    """Goes up when the same bytes come back after a deletion, so that no late delete removes them."""
    size: Mapped[int] = mapped_column(BigInt)
    refs: Mapped[int] = mapped_column(default=0)
    dying_at: Mapped[datetime | None]


class SampleRow(SiteRow, Base):
    """One stored image: what was measured when it came in, once for all data sets that hold it."""

    __tablename__ = "samples"
    __table_args__ = (
        ForeignKeyConstraint(["site", "sha256"], ["objects.site", "objects.sha256"]),
        Index(None, "site", "pixel_sha256"),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)
    pixel_sha256: Mapped[str]
    phash: Mapped[str]
    border: Mapped[list[float]] = mapped_column(Json)
    """Mean and standard deviation of the border's R, G and B."""
    width: Mapped[int]
    height: Mapped[int]
    bit_depth: Mapped[int]
    media_type: Mapped[str]
    """Of the stored bytes."""
    source_type: Mapped[str]
    """Of the bytes received."""
    encoder: Mapped[str]
    size: Mapped[int] = mapped_column(BigInt)
    """Stored bytes."""
    source_size: Mapped[int] = mapped_column(BigInt)
    """Bytes received."""


class ThumbRow(SiteRow, Base):
    """48 × 48 RGB bytes of a sample, by which near duplicates are confirmed. Apart, since it is large."""

    __tablename__ = "sample_thumbs"
    __table_args__ = (ForeignKeyConstraint(["site", "sha256"], ["samples.site", "samples.sha256"]),)

    sha256: Mapped[str] = mapped_column(primary_key=True)
    pixels: Mapped[bytes] = mapped_column(LargeBinary)


class NameRow(SiteRow, Base):
    """Guarded: the real name behind a keyed hash. Mutable, and in no hash, event, log, bundle or report."""

    __tablename__ = "guarded_names"

    key: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)


class DatasetRow(SiteRow, Recorded, Base):
    """A named data set. `classes` only grows at its end: the order once given stays."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("site", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    classes: Mapped[list[str]] = mapped_column(Json)


class ItemRow(SiteRow, Base):
    """A source file of a data set that became a sample: these bytes under this name, with this label."""

    __tablename__ = "dataset_items"
    __table_args__ = (
        ForeignKeyConstraint(["site", "dataset_id"], ["datasets.site", "datasets.id"]),
        ForeignKeyConstraint(["site", "sha256"], ["samples.site", "samples.sha256"]),
        Index(None, "site", "received"),
        Index(None, "site", "dataset_id", "sha256"),
    )

    dataset_id: Mapped[str] = mapped_column(primary_key=True)
    received: Mapped[str] = mapped_column(primary_key=True)
    name_key: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    label: Mapped[str]
    group_key: Mapped[str | None]
    columns: Mapped[dict[str, str]] = mapped_column(Json)
    """Further columns of the CSV and named groups of patterns."""


class VersionRow(SiteRow, Recorded, Base):
    """An immutable version: the manifest is an object by its hash, what follows from it another."""

    __tablename__ = "dataset_versions"
    __table_args__ = (ForeignKeyConstraint(["site", "dataset_id"], ["datasets.site", "datasets.id"]),)

    dataset_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    manifest_hash: Mapped[str]
    contents_hash: Mapped[str]
    """Of everything that the analysis and the findings rest on: equal means that nothing has to be done again."""
    analysis_key: Mapped[str]
    """Object with clusters, keyed groups and split columns, per sample."""
    classes: Mapped[list[str]] = mapped_column(Json)
    counts: Mapped[list[int]] = mapped_column(Json)
    groups: Mapped[int | None]
    findings: Mapped[list[dict[str, Any]]] = mapped_column(Json)
