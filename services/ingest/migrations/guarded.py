"""Tables under row-level security: every migration makes its tables with `create_table` of this module.

On PostgreSQL a table's owner makes and changes it and sees none of its rows; `aimic_app` sees and writes the rows of
the site that its transaction named; `aimic_system` (relay, sweeper, claims) those of all sites, and alone those of no
site (`*`). Foreign keys are checked by the server itself, past these policies. On SQLite all this is nothing.
"""

from typing import Any

from alembic import op
from sqlalchemy import Table, text

APP, SYSTEM = "aimic_app", "aimic_system"
_MINE = "site = NULLIF(current_setting('aimic.site', true), '') AND site <> '*'"
"""A connection that named a site before has an empty one afterwards, which must not be a site either."""
_ALL = "SELECT, INSERT, UPDATE, DELETE"
_MISSING = (
    "The database has no role {roles}, and this login may not make roles. Nothing was changed. Have an administrator "
    "of PostgreSQL run, once:\n{sql}\nThen make the logins of AIMIC_RECORDS_URL and AIMIC_RECORDS_SYSTEM_URL members "
    "(GRANT aimic_app TO …; GRANT aimic_system TO …) unless they are these roles, and migrate again."
)


def make_roles() -> None:
    """The two roles that policies speak of, made when missing; SystemExit with the SQL to run where we may not."""
    if not _postgres():
        return
    found = set(op.get_bind().scalars(text("SELECT rolname FROM pg_roles")))
    missing = [role for role in (APP, SYSTEM) if role not in found]
    may = op.get_bind().scalar(text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"))
    if missing and not may:
        raise SystemExit(
            _MISSING.format(
                roles=" and ".join(missing), sql="\n".join(f"CREATE ROLE {role} NOLOGIN;" for role in missing)
            )
        )
    for role in missing:
        # Roles belong to the whole server: another database's migration may make them at the same moment.
        op.execute(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    for role in (APP, SYSTEM):
        op.execute(f"GRANT SELECT ON alembic_version TO {role}")  # at start it is checked against the program


def create_table(name: str, *columns: Any, allowed: str = _ALL) -> Table:
    """Alembic's create_table, and the table's policies; `allowed` is what app and system may do with its rows."""
    made = op.create_table(name, *columns)
    if _postgres():
        op.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY {APP} ON {name} TO {APP} USING ({_MINE}) WITH CHECK ({_MINE})")
        op.execute(f"CREATE POLICY {SYSTEM} ON {name} TO {SYSTEM} USING (true) WITH CHECK (true)")
        op.execute(f"GRANT {allowed} ON {name} TO {APP}, {SYSTEM}")
    return made


def _postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"
