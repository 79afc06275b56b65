"""What the migrations made, held against what the code declares."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from services.ingest.tables import Base


def assert_declared(engine: Engine) -> None:
    """Tables, columns, types, and the names of all keys are the declared ones."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        made = inspect(connection)
        for table in Base.metadata.sorted_tables:
            declared = {constraint.name for constraint in table.constraints if constraint.name}
            keys = {made.get_pk_constraint(table.name)["name"]}
            keys |= {key["name"] for key in made.get_foreign_keys(table.name)}
            keys |= {key["name"] for key in made.get_unique_constraints(table.name)}
            assert keys == declared, table.name
