"""Uploads and the pieces of them that are safe."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.records import Base, BigInt, Recorded, SiteRow


class UploadRow(SiteRow, Recorded, Base):
    """A tus upload: `offset` bytes of `length` are stored and recorded."""

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "site", "fingerprint"), Index(None, "expires_at"))

    id: Mapped[str] = mapped_column(primary_key=True)
    filename: Mapped[str] = mapped_column(sort_order=1)
    length: Mapped[int] = mapped_column(BigInt, sort_order=2)
    offset: Mapped[int] = mapped_column(BigInt, default=0, sort_order=3)
    pieces: Mapped[int] = mapped_column(default=0, sort_order=4)
    fingerprint: Mapped[str | None] = mapped_column(sort_order=5)
    used_by: Mapped[str | None] = mapped_column(sort_order=6)
    """The import that reads it; until that is over it neither expires nor may be ended."""
    expires_at: Mapped[datetime] = mapped_column(sort_order=7)
    told: Mapped[str | None] = mapped_column(Text, sort_order=8)
    """Upload-Metadata as the client sent it, which tus has us say again."""


class PieceRow(SiteRow, Base):
    """One stored piece: bytes `start` … `start + size` of the upload, under `key`."""

    __tablename__ = "upload_pieces"
    __table_args__ = (ForeignKeyConstraint(["site", "upload_id"], ["uploads.site", "uploads.id"], ondelete="CASCADE"),)

    upload_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(BigInt)
    size: Mapped[int] = mapped_column(BigInt)
    key: Mapped[str]
