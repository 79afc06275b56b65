"""The rows of uploads."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.ingest.uploads.reading import Piece
from services.ingest.uploads.tables import PieceRow, UploadRow


def find(session: Session, site: str, upload_id: str, *, lock: bool = False) -> UploadRow | None:
    """One upload; with `lock` nobody else changes it in this unit of work."""
    return session.get(UploadRow, (site, upload_id), with_for_update=lock)


def find_same(session: Session, site: str, fingerprint: str, length: int, now: datetime) -> UploadRow | None:
    """The newest live upload of the same bytes, by the client's own name for them, locked."""
    return session.scalars(
        select(UploadRow)
        .where(
            UploadRow.site == site,
            UploadRow.fingerprint == fingerprint,
            UploadRow.length == length,
            UploadRow.expires_at > now,
        )
        .order_by(UploadRow.created_at.desc())
        .limit(1)
        .with_for_update()
    ).first()


def pieces_of(session: Session, site: str, upload_id: str) -> list[Piece]:
    """The recorded pieces in order."""
    rows = session.execute(
        select(PieceRow.start, PieceRow.size, PieceRow.key)
        .where(PieceRow.site == site, PieceRow.upload_id == upload_id)
        .order_by(PieceRow.number)
    )
    return [Piece(*row) for row in rows]


def expired(session: Session, now: datetime, limit: int) -> list[tuple[str, str]]:
    """(site, id) of uploads that nobody wants any more."""
    rows = session.execute(
        select(UploadRow.site, UploadRow.id)
        .where(UploadRow.expires_at <= now, UploadRow.used_by.is_(None))
        .limit(limit)
    )
    return [(site, upload_id) for site, upload_id in rows]


def remove(session: Session, site: str, upload_id: str) -> None:
    """Forget an upload and its pieces."""
    session.execute(delete(PieceRow).where(PieceRow.site == site, PieceRow.upload_id == upload_id))
    session.execute(delete(UploadRow).where(UploadRow.site == site, UploadRow.id == upload_id))
