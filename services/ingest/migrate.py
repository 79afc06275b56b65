"""Bringing the records up to the newest schema, under a lock, so that replicas don't do it twice.

`python -m services.ingest.migrate` does it with the owner's login; ingest itself only where it has that login.
"""

import logging
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from aimic.errors import UnavailableError
from aimic.telemetry import setup_logging
from services.ingest.database import Database
from services.ingest.failures import plain_errors
from services.ingest.migrations.guarded import APP, SYSTEM
from services.ingest.settings import Settings

logger = logging.getLogger(__name__)

WAIT_S = 60.0
"""Seconds for which a start waits for a database that is away."""
_LOCK = 0x61696D6963
"""Any number that nobody else locks: "aimic" in ASCII."""
_OWNER_MISSING = (
    "AIMIC_RECORDS_OWNER_URL isn't set, so the schema can't be changed. Set it, with AIMIC_RECORDS_OWNER_PASSWORD or "
    "…_PASSWORD_FILE, to the login that owns the database. Nothing was changed."
)
_OLD = (
    "The records have an older schema than this version of AIMIC needs ({found}, not {wanted}). Nothing was started. "
    "Run `python -m services.ingest.migrate` with AIMIC_RECORDS_OWNER_URL set (the login that owns the database)."
)
_LOGIN = (
    "{variable} logs in as {role}, {fault}, so sites would not be kept apart. Nothing was started. "
    "Use a login that is a member of {group} and nothing more."
)


def migrate(database: Database) -> None:
    """Run what migrations are missing, all in one transaction. A newer schema than ours is left as it is."""
    owner = database.owner
    if owner is None:
        raise SystemExit(_OWNER_MISSING)
    with plain_errors(), owner.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            # Who waits for a table's lock makes all others wait behind; better to give up and come again.
            connection.execute(text("SET LOCAL lock_timeout = '20s'"))
        if not _newer(connection):
            command.upgrade(config(connection), "head")
    logger.info("the records have the newest schema")


def ready(database: Database) -> None:
    """At ingest's start: migrate where we may, else check the schema; on PostgreSQL check the logins too.

    A database that is away is waited for, WAIT_S at most; SystemExit says what is to be done.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return _ready(database)
        except UnavailableError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"{error.message} Nothing was started.") from error
            logger.warning("ingest waits for the records", extra={"reason": error.message})
            time.sleep(error.retry_after_s or 1)


def _ready(database: Database) -> None:
    if database.owner is not None:
        migrate(database)
    if not database.shared:
        return
    with plain_errors():
        check_login(database.engine, "AIMIC_RECORDS_URL", APP)
        check_login(database.system_engine, "AIMIC_RECORDS_SYSTEM_URL", SYSTEM)
        with database.engine.connect() as connection:
            wanted, found = _head(connection), _found(connection)
            if found != wanted and not _newer(connection):
                raise SystemExit(_OLD.format(found=found or "none", wanted=wanted))


def schema(database: Database) -> tuple[str | None, str | None]:
    """The schema's version as it is, and as this program wants it; UnavailableError when the database is away."""
    with plain_errors(), database.engine.connect() as connection:
        return _found(connection), _head(connection)


def check_login(engine: Engine, variable: str, group: str) -> None:
    """SystemExit when row-level security doesn't hold for this login, or holds too much."""
    query = text(
        "SELECT current_user, rolsuper OR rolbypassrls, pg_has_role(current_user, :group, 'USAGE'), "
        "pg_has_role(current_user, :other, 'MEMBER'), "
        "EXISTS (SELECT FROM pg_tables WHERE tablename = 'jobs' AND pg_has_role(current_user, tableowner, 'MEMBER')) "
        "FROM pg_roles WHERE rolname = current_user"
    )
    known = text("SELECT count(*) FROM pg_roles WHERE rolname IN (:app, :system)")
    with engine.connect() as connection:
        if connection.scalar(known, {"app": APP, "system": SYSTEM}) != 2:
            raise SystemExit(_OLD.format(found="none", wanted=_head(connection)))
        other = SYSTEM if group == APP else APP
        role, free, member, both, owns = connection.execute(query, {"group": group, "other": other}).one()
    fault = None
    if free:
        fault = "to whom row-level security doesn't apply"
    elif not member:
        fault = f"who is no member of {group}"
    elif both:
        fault = f"who is a member of {other} too"
    elif owns:
        fault = "who owns the tables"
    if fault is not None:
        raise SystemExit(_LOGIN.format(variable=variable, role=role, fault=fault, group=group))


def config(connection: Connection) -> Config:
    """Alembic's configuration on this connection; there is no alembic.ini, since nothing is set there."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    made.set_main_option("path_separator", "os")
    made.attributes["connection"] = connection
    return made


def _head(connection: Connection) -> str | None:
    return ScriptDirectory.from_config(config(connection)).get_current_head()


def _found(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _newer(connection: Connection) -> bool:
    """Whether the schema is of a version after ours; those only add, so we still run on it."""
    scripts = ScriptDirectory.from_config(config(connection))
    found = _found(connection)
    return found is not None and found not in {script.revision for script in scripts.walk_revisions()}


def main() -> None:
    """Migrate and end."""
    settings = Settings()
    setup_logging("migrate", settings.log_level)
    database = Database.of(settings)
    try:
        migrate(database)
    except UnavailableError as error:
        raise SystemExit(f"{error.message} Nothing was changed.") from error
    finally:
        database.close()


if __name__ == "__main__":
    main()
