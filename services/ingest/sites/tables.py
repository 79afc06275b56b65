"""A site's own row: the key under which its received bytes, names and groups are known."""

from datetime import datetime

from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from services.ingest.records import Base, SiteRow


class SiteRecord(SiteRow, Base):
    """One site. Its key never leaves the records: without it, nobody can test a guess of a patient's name."""

    __tablename__ = "sites"

    key: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime]
