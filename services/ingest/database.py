"""The records: one engine, and units of work that begin with a site.

SQLite runs in WAL with synchronous=FULL; every writing transaction begins IMMEDIATE, so that two writers
queue instead of failing at their first write. Times of leases are the database's own.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, DateTime, Dialect, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

from aimic.errors import UnavailableError
from services.ingest.drives import refuse_network_drive

BUSY_S = 20
"""Seconds a writer waits for another before the caller gets a 503."""
_ANNOUNCED = "aimic_announced"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in UTC on every database (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database, as UTC."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        """From the database, aware."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def database_clock(session: Session) -> datetime:
    """The database's time, so that every replica agrees on when a lease ends."""
    if session.get_bind().dialect.name == "sqlite":
        stamp = session.scalar(text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(stamp)).replace(tzinfo=UTC)
    return session.scalar(select(func.clock_timestamp())) or datetime.now(UTC)


Clock = Callable[[Session], datetime]
Notify = Callable[[str], None]


class Database:
    """Units of work on the records. Opens nothing before it is used.

    `notify` hears, after each commit, the keys that the unit of work announced.
    """

    def __init__(self, url: str, clock: Clock = database_clock, notify: Notify = lambda _: None) -> None:
        self.url = url
        self._clock = clock
        self._notify = notify
        self._reading = _engine(url)
        self._writing = self._reading.execution_options(aimic_write=True)

    @property
    def engine(self) -> Engine:
        """The engine, for migrations."""
        return self._reading

    @property
    def writing(self) -> Engine:
        """The engine whose transactions take the writer's lock at once."""
        return self._writing

    @contextlib.contextmanager
    def begin(self, site: str) -> Iterator[Session]:
        """A unit of work that writes: all or nothing, committed at the end of the block.

        UnavailableError when the database is away, full, or busy for longer than BUSY_S.
        """
        with _plain_errors(), Session(self._writing, expire_on_commit=False) as session:
            with session.begin():
                _enter(session, site)
                yield session
            for key in session.info.pop(_ANNOUNCED, ()):
                self._notify(key)

    @contextlib.contextmanager
    def read(self, site: str) -> Iterator[Session]:
        """A consistent view; nothing is written."""
        with _plain_errors(), Session(self._reading, expire_on_commit=False) as session, session.begin():
            _enter(session, site)
            yield session

    def system(self) -> contextlib.AbstractContextManager[Session]:
        """A unit of work across sites: claims, relay and sweeper only."""
        return self.begin("*")

    def now(self, session: Session) -> datetime:
        """The database's time."""
        return self._clock(session)

    def ping(self) -> None:
        """Raise UnavailableError when the database can't be used."""
        with self.read("*") as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Let go of connections."""
        self._reading.dispose()


def announce(session: Session, key: str) -> None:
    """Wake whoever waits for `key`, or the worker of that name, once the unit of work is committed."""
    session.info.setdefault(_ANNOUNCED, {})[key] = True


def seconds(n: float) -> timedelta:
    """A duration, for lease arithmetic that reads well."""
    return timedelta(seconds=n)


def _enter(session: Session, site: str) -> None:
    session.info["site"] = site
    if session.get_bind().dialect.name == "postgresql":  # row-level security reads it
        session.execute(text("SELECT set_config('aimic.site', :site, true)"), {"site": site})


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise UnavailableError(
            f"The records can't be used just now ({error.orig}). What was acknowledged is kept; try again shortly.",
            retry_after_s=2,
        ) from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        refuse_network_drive(Path(path).parent)
    engine = create_engine(
        url, connect_args={"check_same_thread": False, "timeout": BUSY_S}, pool_size=20, max_overflow=40
    )
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
