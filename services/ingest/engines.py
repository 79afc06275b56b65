"""Engines: how each database is reached, by which login, and within which limits."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from services.ingest.drives import refuse_network_drive
from services.ingest.settings import Settings

BUSY_S = 20
"""Seconds a writer waits for another before the caller gets a 503."""
CONNECT_S = 3
POOL_WAIT_S = 5
"""Seconds for which a caller waits for one of this process's connections."""
STATEMENT_S = 60
ANSWER_S = 70.0
"""Seconds after which a server that took a statement and says nothing counts as away."""
IDLE_S = 60
"""Seconds for which a unit of work that writes may do something else while it holds locks."""
RECYCLE_S = 1800
POSTGRES = "postgresql+psycopg"
SQLITE = "sqlite"


class Engines(NamedTuple):
    """One login's connections: for units of work that read, and for those that write."""

    reading: Engine
    writing: Engine


@dataclass(frozen=True)
class Logins:
    """Addresses with their passwords. SQLite has no logins: all three are the file."""

    app: URL
    system: URL
    owner: URL | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """From the settings; SystemExit in words when they don't fit together."""
        app = _url(settings, "records")
        if app.drivername == SQLITE:
            return cls(app, app, app)
        if not settings.records_system_url:
            raise SystemExit(
                "AIMIC_RECORDS_URL is a PostgreSQL database, so AIMIC_RECORDS_SYSTEM_URL is needed too: the same "
                "database by a login that is a member of the role aimic_system. Nothing was started."
            )
        owner = _url(settings, "records_owner") if settings.records_owner_url else None
        return cls(app, _url(settings, "records_system"), owner)

    @classmethod
    def local(cls, url: str) -> Self:
        """One address for everything."""
        made = make_url(url)
        return cls(made, made, made)


def _url(settings: Settings, name: str) -> URL:
    variable = f"AIMIC_{name.upper()}_URL"
    try:
        url = make_url(getattr(settings, f"{name}_url"))
    except ArgumentError:
        raise SystemExit(f"{variable} is no address of a database. Nothing was started.") from None
    if url.drivername not in {SQLITE, POSTGRES}:
        raise SystemExit(f"{variable}: use sqlite:///file or {POSTGRES}://login@host/database. Nothing was started.")
    if url.password is not None:
        raise SystemExit(
            f"{variable} has a password in it, and addresses are written to logs. Put the password into "
            f"AIMIC_{name.upper()}_PASSWORD or the file named by AIMIC_{name.upper()}_PASSWORD_FILE. "
            "Nothing was started."
        )
    return url if url.drivername == SQLITE else url.set(password=settings.secret(f"{name}_password"))


def engines_of(url: URL, connections: int) -> Engines:
    """The engines of a login. Nothing is opened before it is used.

    Parameters are never part of an error's text: they may be names of patients.
    """
    if url.drivername == SQLITE:
        engine = _sqlite(url)
        return Engines(engine, engine.execution_options(aimic_write=True))
    limits = {"statement_timeout": STATEMENT_S, "lock_timeout": BUSY_S, "idle_in_transaction_session_timeout": IDLE_S}
    engine = _postgres(
        url,
        limits,
        pool_size=min(5, connections),
        max_overflow=max(0, connections - 5),
        pool_timeout=POOL_WAIT_S,
        pool_recycle=RECYCLE_S,
        pool_pre_ping=True,
        pool_use_lifo=True,
    )
    # Said, not left to the server's settings: what is locked (writing.py) is read anew after the wait for it.
    writing = engine.execution_options(isolation_level="READ COMMITTED")
    reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Engines(reading, writing)


def lone_engine(url: URL, *, autocommit: bool = False) -> Engine:
    """An engine without a pool or time limits: for migrations, and (autocommit) for the connection that listens."""
    if url.drivername == SQLITE:
        return engines_of(url, 1).writing
    engine = _postgres(url, {}, poolclass=NullPool)
    if not autocommit:
        return engine
    event.listen(engine, "do_connect", _connect_with_deadline)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _postgres(url: URL, limits: dict[str, int], **pool: Any) -> Engine:
    arguments = {
        "application_name": "aimic-ingest",
        "connect_timeout": CONNECT_S,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
    }
    engine = create_engine(url, connect_args=arguments, hide_parameters=True, **pool)
    if limits:
        event.listen(engine, "do_connect", _connect_with_deadline)
    # First, so that what SQLAlchemy asks of a new connection has its limits too.
    event.listen(engine, "connect", _prepare_postgres(limits), insert=True)
    return engine


def _prepare_postgres(limits: dict[str, int]) -> Callable[[Any, Any], None]:
    """Limits (seconds) and time zone by SET on each new connection: a pooler such as PgBouncer refuses them among the
    parameters of a start."""
    given = {name: f"{seconds}s" for name, seconds in limits.items()} | {"timezone": "UTC"}
    statement = "; ".join(f"SET {name} = '{value}'" for name, value in given.items())

    def prepare(connection: Any, _: Any) -> None:
        before = connection.autocommit
        try:
            connection.autocommit = True  # in a transaction they would be gone with its rollback
            connection.execute(statement)
            connection.autocommit = before
        except BaseException:
            connection.close()  # nobody has it yet who would
            raise

    return prepare


def _connect_with_deadline(_: Any, __: Any, given: list[Any], named: dict[str, Any]) -> Any:
    # Imported here: the embedded mode has no such server.
    from services.ingest.deadline import DeadlineConnection

    return DeadlineConnection.connect(*given, **named)


def _sqlite(url: URL) -> Engine:
    path = url.database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        refuse_network_drive(Path(path).parent)
    arguments = {"check_same_thread": False, "timeout": BUSY_S}
    engine = create_engine(url, connect_args=arguments, hide_parameters=True, pool_size=20, max_overflow=40)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("aimic_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
