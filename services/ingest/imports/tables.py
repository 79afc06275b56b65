"""Imports, and the files that each of them refused."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.leases import Leased
from services.ingest.records import Base, Json, Recorded, SiteRow


class ImportRow(SiteRow, Recorded, Leased, Base):
    """One import. `seen` is also the place at which it goes on after an interruption."""

    __tablename__ = "imports"
    __table_args__ = (
        ForeignKeyConstraint(["site", "dataset_id"], ["datasets.site", "datasets.id"]),
        Index(None, "site", "dataset_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    dataset_id: Mapped[str]
    dataset: Mapped[str]
    uploads: Mapped[list[str]] = mapped_column(Json)
    rule: Mapped[str | None] = mapped_column(Text)
    """The LabelRule as JSON. It may name patients, so it is dropped when the import is over."""
    phase: Mapped[str] = mapped_column(default="")
    seen: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    stored: Mapped[int] = mapped_column(default=0)
    known: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    ignored: Mapped[int] = mapped_column(default=0)
    eta_s: Mapped[float | None]
    version: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    """Why it failed; while it waits (phase `waiting`), what it waits for."""
    not_before: Mapped[datetime | None]
    """While it waits: when it is tried again, so that others have their turn."""
    finished_at: Mapped[datetime | None]


class RefusalRow(SiteRow, Base):
    """A file that did not go in; its name is in the guarded table under `name_key`."""

    __tablename__ = "import_refusals"
    __table_args__ = (ForeignKeyConstraint(["site", "import_id"], ["imports.site", "imports.id"], ondelete="CASCADE"),)

    import_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name_key: Mapped[str]
    received: Mapped[str]
    """Keyed hash of its bytes; empty where they were never read."""
    code: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)
