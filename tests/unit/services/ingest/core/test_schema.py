"""The migrations make exactly the tables that the code declares, and every key starts with the site."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint, inspect

from services.ingest.database import Database
from services.ingest.migrate import migrate
from services.ingest.tables import Base


def test_the_migrated_schema_is_the_declared_one(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/records.db")
    migrate(database)
    migrate(database)  # again, as at every start
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        made = inspect(connection)
        for table in Base.metadata.sorted_tables:
            declared = {constraint.name for constraint in table.constraints if constraint.name}
            keys = {made.get_pk_constraint(table.name)["name"]}
            keys |= {key["name"] for key in made.get_foreign_keys(table.name)}
            keys |= {key["name"] for key in made.get_unique_constraints(table.name)}
            assert keys == declared, table.name
    database.close()


def test_every_key_starts_with_the_site() -> None:
    for table in Base.metadata.sorted_tables:
        for constraint in table.constraints:
            if isinstance(constraint, PrimaryKeyConstraint | ForeignKeyConstraint | UniqueConstraint):
                first = next(iter(constraint.columns))
                assert first.name == "site", (table.name, constraint.name)
