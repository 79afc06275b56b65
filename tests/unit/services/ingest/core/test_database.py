"""Units of work: all or nothing, readers don't wait, writers queue, a full or absent database is a 503."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from aimic.errors import UnavailableError
from services.ingest.database import Database, announce


@pytest.fixture
def database(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path}/records.db")
    with made.system() as session:
        session.execute(text("CREATE TABLE t (n INTEGER)"))
    return made


def _count(database: Database) -> int:
    with database.read("local") as session:
        return int(session.scalar(text("SELECT count(*) FROM t")) or 0)


def test_an_error_leaves_nothing_and_announces_nothing(tmp_path: Path) -> None:
    heard: list[str] = []
    database = Database(f"sqlite:///{tmp_path}/records.db", notify=heard.append)
    with database.system() as session:
        session.execute(text("CREATE TABLE t (n INTEGER)"))
    with pytest.raises(ZeroDivisionError), database.begin("local") as session:
        session.execute(text("INSERT INTO t VALUES (1)"))
        announce(session, "rolled back")
        raise ZeroDivisionError
    with database.begin("local") as session:
        session.execute(text("INSERT INTO t VALUES (1)"))
        announce(session, "committed")
        assert heard == []
    assert _count(database) == 1 and heard == ["committed"]
    database.close()


def test_writers_queue_and_none_is_refused(database: Database) -> None:
    def work() -> None:
        for _ in range(10):
            with database.begin("local") as session:
                seen = session.scalar(text("SELECT count(*) FROM t")) or 0
                session.execute(text("INSERT INTO t VALUES (:n)"), {"n": seen})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read("local") as session:
        assert session.scalars(text("SELECT n FROM t ORDER BY n")).all() == list(range(40))
    database.close()


def test_a_reader_sees_one_state_while_others_write(database: Database) -> None:
    with database.read("local") as reader:
        assert reader.scalar(text("SELECT count(*) FROM t")) == 0
        with database.begin("local") as writer:
            writer.execute(text("INSERT INTO t VALUES (1)"))
        assert reader.scalar(text("SELECT count(*) FROM t")) == 0
    assert _count(database) == 1
    database.close()


def test_safe_settings_are_on(database: Database) -> None:
    with database.read("local") as session:
        asked = {
            name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    database.close()


def test_a_database_that_is_away_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "records.db").mkdir()
    database = Database(f"sqlite:///{tmp_path}/records.db")
    with pytest.raises(UnavailableError) as caught:
        database.ping()
    assert caught.value.retry_after_s
    database.close()
