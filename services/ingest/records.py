"""What all tables share: naming, types, the site first in every key, who made it and when."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Integer, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.ingest.database import UtcDateTime

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
BigInt = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits on every database (SQLite's INTEGER has them)."""


class Base(DeclarativeBase):
    """The base of every table; its metadata is what migrations are checked against."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        datetime: UtcDateTime,
        dict[str, Any]: Json,
        list[Any]: Json,
        str: String(255),
    }


class SiteRow:
    """A row of one site; the site is the first column of the primary key."""

    site: Mapped[str] = mapped_column(String(63), primary_key=True, sort_order=-100)


class Recorded:
    """Who made the row and when."""

    created_by: Mapped[str] = mapped_column(String(255), sort_order=90)
    created_at: Mapped[datetime] = mapped_column(sort_order=91)
