"""How Alembic runs our migrations: on the connection it is given, in that connection's transaction."""

from typing import Any, Literal

from alembic import context
from sqlalchemy import JSON, BigInteger

from services.ingest.database import UtcDateTime
from services.ingest.tables import Base


def render_item(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Our own types by what they are in the database, since a migration must not change with the code."""
    if kind != "type":
        return False
    if isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if isinstance(item, JSON):
        return "JSON_TYPE"
    return "BIG_INTEGER" if isinstance(item, BigInteger) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    include_object=context.config.attributes.get("include_object"),
    render_item=render_item,
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,  # on SQLite too: our connections begin transactions themselves
)
with context.begin_transaction():
    context.run_migrations()
