"""The migrations make exactly the tables that the code declares, and every key starts with the site."""

from pathlib import Path
from typing import Any

import pytest
from alembic import op
from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint, inspect

from services.ingest.database import Database
from services.ingest.migrate import migrate
from services.ingest.tables import Base
from tests.schema import assert_declared


def test_the_migrated_schema_is_the_declared_one(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/records.db")
    migrate(database)
    migrate(database)  # again, as at every start
    assert_declared(database.engine)
    database.close()


def test_a_migration_that_breaks_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite:///{tmp_path}/records.db")
    real, calls = op.create_table, 0

    def breaks(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise RuntimeError("killed here")
        return real(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(op, "create_table", breaks)
        migrate(database)
    with database.engine.connect() as connection:
        assert inspect(connection).get_table_names() == []
    migrate(database)
    database.close()


def test_every_key_starts_with_the_site() -> None:
    for table in Base.metadata.sorted_tables:
        for constraint in table.constraints:
            if isinstance(constraint, PrimaryKeyConstraint | ForeignKeyConstraint | UniqueConstraint):
                first = next(iter(constraint.columns))
                assert first.name == "site", (table.name, constraint.name)
