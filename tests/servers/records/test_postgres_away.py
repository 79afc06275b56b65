"""When the server is away, full, hanging or busy, callers hear it in words with a time, and nothing that was
acknowledged is lost. Mistakes of ours stay mistakes."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from aimic.errors import AimicError, InvalidInputError, UnavailableError
from services.ingest import deadline, engines
from services.ingest.database import Database
from services.local.servers.postgres import Postgres, PostgresDatabase

pytestmark = pytest.mark.servers
Replica = Callable[..., Database]
_ADD = text("INSERT INTO guarded_names VALUES ('a', :key, 'a name')")


def _add(database: Database, key: str) -> None:
    with database.begin("a") as session:
        session.execute(_ADD, {"key": key})


def _refused(work: Callable[[], None]) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        work()
    assert caught.value.retry_after_s
    for secret in ("INSERT", "SELECT", "127.0.0.1", "aimic_app"):
        assert secret not in caught.value.message
    return caught.value


def test_a_server_that_ends_under_load_loses_nothing_it_acknowledged(own: tuple[Postgres, Database]) -> None:
    server, database = own
    kept: list[str] = []
    refused: list[AimicError] = []
    foul: list[BaseException] = []
    stop = threading.Event()

    def write(name: str) -> None:
        n = 0
        while not stop.is_set():
            n += 1
            try:
                _add(database, f"{name} {n}")
                kept.append(f"{name} {n}")
            except UnavailableError as error:
                refused.append(error)
                time.sleep(0.05)
            except BaseException as error:
                foul.append(error)

    threads = [threading.Thread(target=write, args=(f"writer {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for end in (server.restart, server.kill):
        time.sleep(1)
        end()
    time.sleep(0.5)
    server.start()
    before = len(kept)
    deadline = time.monotonic() + 30
    while len(kept) < before + 20 and time.monotonic() < deadline:
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    with database.read("a") as session:
        there = set(session.scalars(text("SELECT key FROM guarded_names")))
    assert foul == []
    assert refused and all(error.retry_after_s for error in refused)
    assert set(kept) <= there
    assert len(kept) >= before + 20


def test_a_server_that_hangs_is_given_up(own: tuple[Postgres, Database], monkeypatch: pytest.MonkeyPatch) -> None:
    server, database = own
    _add(database, "before")
    server.pause()
    try:
        with monkeypatch.context() as soon:
            soon.setattr(deadline, "ANSWER_S", 1.0)
            started = time.monotonic()
            _refused(lambda: _add(database, "while it hangs"))
            assert time.monotonic() - started < 15
    finally:
        server.resume()
    _add(database, "after")


def test_what_waits_too_long_for_a_lock_is_told(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BUSY_S", 1)
    one, two = replica(), replica()
    with one.begin("a") as session:
        session.execute(_ADD, {"key": "mine"})
        error = _refused(lambda: _add(two, "mine"))
    assert "busy" in error.message


def test_two_who_wait_for_each_other_are_parted(replica: Replica) -> None:
    database = replica()
    for key in ("1", "2"):
        _add(database, key)
    gate = threading.Barrier(2)
    refused: list[UnavailableError] = []

    def lock(first: str, second: str) -> None:
        try:
            with database.begin("a") as session:
                change = text("UPDATE guarded_names SET name = 'x' WHERE key = :key")
                session.execute(change, {"key": first})
                gate.wait()
                session.execute(change, {"key": second})
        except UnavailableError as error:
            refused.append(error)

    threads = [threading.Thread(target=lock, args=keys) for keys in (("1", "2"), ("2", "1"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [bool(error.retry_after_s) for error in refused] == [True]


def test_when_all_connections_are_in_use_callers_are_told(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "POOL_WAIT_S", 0.3)
    database = replica(records_connections=1)
    with database.read("a"):
        _refused(lambda: _add(database, "one more"))
    _add(database, "afterwards")


def test_too_many_connections_and_a_wrong_password_are_told(
    postgres_server: Postgres, records: PostgresDatabase, replica: Replica, tmp_path: Any
) -> None:
    with postgres_server.administrator() as connection:
        connection.execute(f"ALTER DATABASE {records.name} CONNECTION LIMIT 0")
        try:
            _refused(lambda: _add(replica(), "one"))
        finally:
            connection.execute(f"ALTER DATABASE {records.name} CONNECTION LIMIT -1")
    wrong = tmp_path / "wrong"
    wrong.write_text("guess")
    error = _refused(lambda: _add(replica(records_password_file=str(wrong)), "two"))
    assert "guess" not in error.message and "refuse our login" in error.message


def test_a_connection_that_is_cut_while_idle_is_not_noticed(
    postgres_server: Postgres, records: PostgresDatabase, replica: Replica
) -> None:
    database = replica()
    _add(database, "one")
    with postgres_server.administrator() as connection:
        cut = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(cut, (records.name,))
    _add(database, "two")  # it is tried before it is given out


def test_a_unit_of_work_that_sleeps_on_its_locks_is_ended(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    database = replica()

    def sleep() -> None:
        with database.begin("a") as session:
            session.execute(_ADD, {"key": "mine"})
            time.sleep(2)

    with monkeypatch.context() as soon:
        soon.setattr("services.ingest.database.IDLE_S", 1)
        _refused(sleep)
    _add(database, "mine")


def test_a_standby_says_that_it_may_only_be_read(
    postgres_server: Postgres, records: PostgresDatabase, replica: Replica
) -> None:
    with postgres_server.administrator() as connection:
        connection.execute(f"ALTER DATABASE {records.name} SET default_transaction_read_only = on")
    assert "may only be read" in _refused(lambda: _add(replica(), "one")).message


def test_mistakes_stay_mistakes(replica: Replica) -> None:
    database = replica()
    for statement in ("SELECT nothing FROM nowhere", "SELEC 1"):
        with pytest.raises(DBAPIError), database.begin("a") as session:
            session.execute(text(statement))
    with pytest.raises(DBAPIError, match="read-only"), database.read("a") as session:
        session.execute(_ADD, {"key": "written while reading"})
    secret = {"key": "patient 4711"}
    _add(database, secret["key"])
    with pytest.raises(DBAPIError) as caught, database.begin("a") as session:
        session.execute(_ADD, secret)
    assert "parameters hidden" in str(caught.value)


def test_values_that_text_does_not_have_are_the_callers_fault(replica: Replica) -> None:
    database = replica()
    for key in ("x" * 300, "a\0b"):
        with pytest.raises(InvalidInputError):
            _add(database, key)


def test_every_connection_has_its_limits_whatever_the_server_is_set_to(
    postgres_server: Postgres, records: PostgresDatabase, replica: Replica
) -> None:
    with postgres_server.administrator() as connection:
        connection.execute(f"ALTER DATABASE {records.name} SET default_transaction_isolation = serializable")
        connection.execute(f"ALTER DATABASE {records.name} SET timezone = 'Asia/Shanghai'")
    database = replica()
    with database.begin("a") as session:
        limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        others = ("timezone", "application_name", "transaction_isolation", "transaction_read_only")
        found = [session.scalar(text(f"SHOW {name}")) for name in (*limits, *others)]
    assert found == ["1min", "20s", "1min", "UTC", "aimic-ingest", "read committed", "off"]
    with database.read("a") as session:
        found = [session.scalar(text(f"SHOW {name}")) for name in (limits[2], *others[2:])]
    assert found == ["10min", "repeatable read", "on"]


def test_limits_are_set_on_a_fresh_connection_and_need_no_parameter_of_its_start(replica: Replica) -> None:
    database = replica()
    limits = ["1min", "20s", "1min", "UTC"]
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "timezone")
    owner = database.owner
    assert owner is not None
    free = ["0", "0", "0", "UTC"]
    for engine, wanted in (
        *((database.engine, limits), (database.system_engine, limits)),
        *((owner, free), (database.ear(), free)),
    ):
        with engine.connect() as connection:
            wire: Any = connection.connection.driver_connection
            assert "options" not in wire.info.get_parameters()  # which PgBouncer refuses
            connection.rollback()
            assert [connection.scalar(text(f"SHOW {name}")) for name in names] == wanted
            assert wire.autocommit == (engine.get_execution_options().get("isolation_level") == "AUTOCOMMIT")
