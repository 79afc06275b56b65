"""The records: units of work that begin with a site, by the app's login or the system's.

SQLite runs in WAL with synchronous=FULL; every writing transaction begins IMMEDIATE, so that two writers
queue instead of failing at their first write. On PostgreSQL writers are READ COMMITTED and lock what they change
(writing.py), readers see one state of things, and row-level security shows a site's rows to its own units of work only.
Times of leases are the database's own.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Self
from uuid import uuid4

from sqlalchemy import DateTime, Dialect, Engine, func, select, text
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

from aimic.domain.site import LOCAL_SITE, PLATFORM_SITE
from services.ingest.engines import IDLE_S, Engines, Logins, engines_of, lone_engine
from services.ingest.failures import plain_errors
from services.ingest.settings import Settings

CHANNEL = "aimic"
"""Where other processes hear what was announced: `<process> <key>`."""
READ_S = 600
"""Seconds for which a unit of work that reads may do something else; it holds no locks."""
_ANNOUNCED = "aimic_announced"
_ENTER = text(
    "SELECT set_config('aimic.site', :site, true), set_config('idle_in_transaction_session_timeout', :patience, true)"
)
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")


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
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def database_clock(session: Session) -> datetime:
    """The database's time, so that every replica agrees on when a lease ends."""
    if session.get_bind().dialect.name == "sqlite":
        stamp = session.scalar(text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(stamp)).replace(tzinfo=UTC)
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now.astimezone(UTC)


Clock = Callable[[Session], datetime]
Notify = Callable[[str], None]


class Database:
    """Units of work on the records. Opens nothing before it is used.

    `notify` hears, after each commit, the keys that the unit of work announced.
    """

    def __init__(
        self,
        url: str | Logins,
        clock: Clock = database_clock,
        notify: Notify = lambda _: None,
        connections: int = 20,
    ) -> None:
        self._logins = Logins.local(url) if isinstance(url, str) else url
        self.url = self._logins.app.render_as_string(hide_password=True)
        self.me = uuid4().hex
        """This process among those that announce."""
        self._clock = clock
        self._notify = notify
        self._app = engines_of(self._logins.app, connections)
        same = self._logins.system == self._logins.app
        self._system = self._app if same else engines_of(self._logins.system, connections)

    @classmethod
    def of(cls, settings: Settings, clock: Clock = database_clock, notify: Notify = lambda _: None) -> Self:
        """The database that the settings name; SystemExit in words when they don't fit together."""
        return cls(Logins.of(settings), clock, notify, settings.records_connections)

    @property
    def engine(self) -> Engine:
        """The app's engine."""
        return self._app.reading

    @property
    def system_engine(self) -> Engine:
        """The system's engine."""
        return self._system.reading

    @property
    def shared(self) -> bool:
        """Whether other processes, on other machines perhaps, work on the same records."""
        return self._logins.app.drivername != "sqlite"

    @property
    def owner(self) -> Engine | None:
        """An engine for migrations; None where this process has no owner's login."""
        if not self.shared:
            return self._app.writing
        return None if self._logins.owner is None else lone_engine(self._logins.owner)

    def ear(self) -> Engine:
        """An engine for the one connection that listens on CHANNEL, beside the pool (PostgreSQL only)."""
        return lone_engine(self._logins.app, autocommit=True)

    @contextlib.contextmanager
    def begin(self, site: str) -> Iterator[Session]:
        """A unit of work that writes: all or nothing, committed at the end of the block.

        UnavailableError when the database is away, full, or busy for longer than BUSY_S.
        """
        with plain_errors(), Session(self._of(site).writing, expire_on_commit=False) as session:
            with session.begin():
                self._enter(session, site, reading=False)
                yield session
                self._tell(session)
            for key in session.info.pop(_ANNOUNCED, ()):
                self._notify(key)

    @contextlib.contextmanager
    def read(self, site: str) -> Iterator[Session]:
        """A consistent view; nothing is written."""
        engine = self._of(site).reading
        with plain_errors(reading=True), Session(engine, expire_on_commit=False) as session, session.begin():
            self._enter(session, site, reading=True)
            yield session

    def system(self) -> contextlib.AbstractContextManager[Session]:
        """A unit of work across sites: claims, relay and sweeper only."""
        return self.begin(PLATFORM_SITE)

    def now(self, session: Session) -> datetime:
        """The database's time."""
        return self._clock(session)

    def ping(self) -> None:
        """Raise UnavailableError when the database can't be used, by either login."""
        for site in (PLATFORM_SITE, LOCAL_SITE):
            with self.read(site) as session:
                session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Let go of connections."""
        self._app.writing.dispose()
        self._system.writing.dispose()

    def _of(self, site: str) -> Engines:
        return self._system if site == PLATFORM_SITE else self._app

    def _enter(self, session: Session, site: str, *, reading: bool) -> None:
        session.info["site"] = site
        if self.shared:  # for this transaction only: a connection goes back to the pool without a site
            patience = f"{READ_S if reading else IDLE_S}s"
            session.execute(_ENTER, {"site": site, "patience": patience})

    def _tell(self, session: Session) -> None:
        """Other processes hear it at the commit, and never of what was rolled back."""
        keys = list(session.info.get(_ANNOUNCED, ()))
        if keys and self.shared:
            told = [{"channel": CHANNEL, "payload": f"{self.me} {key}"} for key in keys]
            session.flush()
            session.execute(_NOTIFY, told)


def announce(session: Session, key: str) -> None:
    """Wake whoever waits for `key`, or the worker of that name, in every process once the unit of work is committed."""
    session.info.setdefault(_ANNOUNCED, {})[key] = True


def seconds(n: float) -> timedelta:
    """A duration, for lease arithmetic that reads well."""
    return timedelta(seconds=n)
