"""Two sites on one pooled connection: whatever happens on it, nobody meets a foreign row, and none is written."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from aimic.errors import UnavailableError
from services.ingest.database import Database
from services.local.servers.postgres import Postgres, PostgresDatabase

pytestmark = pytest.mark.servers
_ADD = text("INSERT INTO guarded_names VALUES (:site, :key, 'a name')")


@pytest.fixture
def database(replica: Callable[..., Database]) -> Database:
    """The app's login with a pool of one connection."""
    made = replica(records_connections=1)
    with made.system() as session:
        for site in ("a", "b", "*"):
            session.execute(_ADD, {"site": site, "key": f"of {site}"})
    return made


def _seen(database: Database, site: str) -> list[str]:
    with database.read(site) as session:
        return list(session.scalars(text("SELECT site FROM guarded_names")))


def _check(database: Database) -> None:
    """Each site sees itself; without a site there is nothing; foreign rows can't be written, changed or removed."""
    for site, other in (("a", "b"), ("b", "a"), ("a", "b")):
        assert set(_seen(database, site)) == {site}
        for foreign in (other, "*", ""):
            with pytest.raises(DBAPIError, match="row-level security"), database.begin(site) as session:
                session.execute(_ADD, {"site": foreign, "key": "new"})
        with database.begin(site) as session:
            mine = {"other": other}
            for change in ("UPDATE guarded_names SET name = 'x'", "DELETE FROM guarded_names"):
                done = session.execute(text(f"{change} WHERE site = :other RETURNING key"), mine)
                assert done.all() == []
        assert _bare(database.engine) == 0


def _bare(engine: Engine) -> int:
    """How many rows a transaction sees that named no site, on the connection that a site has just used."""
    with engine.connect() as connection:
        return len(connection.execute(text("SELECT * FROM guarded_names")).all())


def test_one_connection_serves_both_sites(database: Database) -> None:
    _check(database)
    pool: Any = database.engine.pool
    assert pool.checkedin() == 1 and pool.overflow() <= 0


def test_after_a_rollback(database: Database) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), database.begin("a") as session:
            session.execute(_ADD, {"site": "a", "key": "undone"})
            raise ZeroDivisionError
        assert set(_seen(database, "b")) == {"b"}
    _check(database)
    assert _seen(database, "a") == ["a"]


def test_after_a_statement_time_out(database: Database) -> None:
    with pytest.raises(UnavailableError) as caught, database.begin("a") as session:
        session.execute(text("SET LOCAL statement_timeout = '1s'"))
        session.execute(text("SELECT pg_sleep(30)"))
    assert caught.value.retry_after_s
    assert set(_seen(database, "b")) == {"b"}
    _check(database)


def _until_it_waits(server: Postgres, database: PostgresDatabase, what: str) -> None:
    """Until a connection of this database is in the middle of a statement that begins so."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query LIKE %s"
    with server.administrator() as connection:
        ends = time.monotonic() + 15
        while connection.execute(query, (database.name, f"{what}%")).fetchone() is None:
            assert time.monotonic() < ends, f"nobody came to {what}"
            time.sleep(0.05)


def test_after_a_request_that_was_cancelled_from_another_thread(
    database: Database, postgres_server: Postgres, records: PostgresDatabase
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(UnavailableError), database.begin("a") as session:
            wire: Any = session.connection().connection.driver_connection

            def cancels() -> None:
                _until_it_waits(postgres_server, records, "SELECT pg_sleep")
                wire.cancel_safe()

            cancelled = pool.submit(cancels)
            session.execute(text("SELECT pg_sleep(30)"))
        cancelled.result()
    assert set(_seen(database, "b")) == {"b"}
    _check(database)


def test_after_a_task_that_was_cancelled_in_the_middle_of_its_query(
    database: Database, postgres_server: Postgres, records: PostgresDatabase
) -> None:
    def work() -> None:
        with database.begin("a") as session:
            session.execute(_ADD, {"site": "a", "key": "late"})
            session.execute(text("SELECT pg_advisory_xact_lock(1)"))

    async def request(holds: psycopg.Connection) -> None:
        task = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.to_thread(_until_it_waits, postgres_server, records, "SELECT pg_advisory")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The thread still has the connection; the other site waits for it, and gets it clean.
        other = asyncio.create_task(asyncio.to_thread(_seen, database, "b"))
        await asyncio.sleep(0.2)
        assert not other.done()
        holds.execute("SELECT pg_advisory_unlock(1)")
        assert set(await other) == {"b"}

    with postgres_server.administrator(records.name) as holds:
        holds.execute("SELECT pg_advisory_lock(1)")
        asyncio.run(request(holds))
    _check(database)


def test_two_sites_in_many_threads_on_one_connection(database: Database) -> None:
    wrong: list[object] = []
    end = time.monotonic() + 2

    def look(site: str) -> None:
        while time.monotonic() < end:
            try:
                with database.begin(site) as session:
                    found = set(session.scalars(text("SELECT site FROM guarded_names")))
                    if time.monotonic_ns() % 3 == 0:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            if found != {site}:
                wrong.append(found)

    threads = [threading.Thread(target=look, args=(site,)) for site in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
