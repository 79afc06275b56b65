"""Writing beside others: what SQLite's one writer gives by itself, several replicas on PostgreSQL must ask for.

The order in which locks are taken, so that no two units of work wait for each other:
`serialised` names; uploads (by id); an import; a data set; guarded names; objects (by hash); a job, then its tasks;
a model's name; claim turns, dying objects, outbox; the head of the audit log last.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.ingest.records import Base


def serialised(session: Session, *names: str) -> None:
    """From here to its end, no other unit of work is past this line with the same names.

    For what no row stands for yet. SQLite has one writer at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:8], signed=True)
        session.execute(select(func.pg_advisory_xact_lock(key)))


def insert_new(session: Session, row: type[Base], values: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; those whose key is there already are left as they are, also when another writes them right now.

    Rows that others may insert at the same time must come in the same order everywhere.
    """
    if values:
        session.execute(insert(session, row).on_conflict_do_nothing(), values)


def put(session: Session, row: type[Base], values: Mapping[str, Any]) -> None:
    """Insert a row, or give the one with this key these values."""
    statement = insert(session, row).values(values)
    key = [column.name for column in table_of(row).primary_key]
    newer = {name: statement.excluded[name] for name in values if name not in key}
    session.execute(statement.on_conflict_do_update(index_elements=key, set_=newer))


def insert(session: Session, row: type[Base]) -> Any:
    """An INSERT of this database, which knows ON CONFLICT."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(table_of(row))


def table_of(row: type[Base]) -> Table:
    """The table of a class of rows."""
    table = row.__table__
    assert isinstance(table, Table)
    return table
