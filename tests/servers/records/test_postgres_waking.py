"""What one replica writes wakes the streams and workers of another, at the commit and not by polling."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.ingest import progress
from services.ingest.database import Database, announce
from services.ingest.listening import Listener
from services.ingest.settings import Settings
from services.local.servers.postgres import Postgres, PostgresDatabase
from services.local.servers.together import fields

pytestmark = pytest.mark.servers
Replica = Callable[..., Database]


class Ears:
    """A replica that listens, and what it heard."""

    def __init__(self, database: Database) -> None:
        self.heard: list[str] = []
        self.missed = 0
        self._changed = threading.Condition()
        self.listener = Listener(database, self._hear, self._miss)

    def _hear(self, key: str) -> None:
        with self._changed:
            self.heard.append(key)
            self._changed.notify_all()

    def _miss(self) -> None:
        with self._changed:
            self.missed += 1
            self._changed.notify_all()

    def until(self, wanted: Callable[[], bool], seconds: float = 20) -> bool:
        """Wait for it; whether it came."""
        with self._changed:
            return self._changed.wait_for(wanted, seconds)


@pytest.fixture
def ears(replica: Replica) -> Iterator[Ears]:
    made = Ears(replica())
    made.listener.start()
    assert made.until(lambda: made.missed == 1)
    yield made
    made.listener.stop()


def _say(database: Database, key: str) -> None:
    with database.begin("a") as session:
        announce(session, key)


def test_another_replica_hears_at_the_commit_and_never_of_what_was_undone(ears: Ears, replica: Replica) -> None:
    mine: list[str] = []
    speaker = replica(notify=mine.append)
    with pytest.raises(ZeroDivisionError), speaker.begin("a") as session:
        announce(session, "undone")
        raise ZeroDivisionError
    with speaker.begin("a") as session:
        announce(session, "job/a/1")
        announce(session, "relay")
        assert not ears.until(lambda: bool(ears.heard), 0.3)
    assert ears.until(lambda: len(ears.heard) == 2)
    assert ears.heard == mine == ["job/a/1", "relay"]


def test_a_stream_at_one_replica_is_woken_by_what_another_wrote(
    scene: Any, clients: Sequence[TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "POLL_S", 60.0)
    job = scene.start()
    claim = scene.claim()
    told: list[str] = []

    def watch() -> None:
        with clients[1].stream("GET", f"/api/v1/jobs/{job['id']}/events") as answer:
            told.extend(line for line in answer.iter_lines() if line.startswith("event: "))

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(1)
    scene.tell(claim, "progress", events=[{"kind": "warning", "data": {"message": "x"}}])
    scene.client.post(f"/api/v1/jobs/{job['id']}/cancel")
    watcher.join(30)  # the stream ends with the job
    assert not watcher.is_alive()
    assert "event: warning" in told


def test_what_a_replica_says_itself_wakes_it_once(replica: Replica) -> None:
    mine: list[str] = []
    database = replica(notify=mine.append)
    ears = Ears(database)
    ears.listener.start()
    assert ears.until(lambda: ears.missed == 1)
    _say(database, "own")
    _say(replica(), "other")
    assert ears.until(lambda: bool(ears.heard))
    assert ears.heard == ["other"] and mine == ["own"]
    ears.listener.stop()


def test_a_lost_connection_is_made_again_and_everybody_is_woken(
    ears: Ears, replica: Replica, postgres_server: Postgres, records: PostgresDatabase
) -> None:
    with postgres_server.administrator() as connection:
        cut = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
        connection.execute(cut, (records.name,))
    assert ears.until(lambda: ears.missed == 2)
    _say(replica(), "again")
    assert ears.until(lambda: ears.heard == ["again"])


def test_the_listener_survives_a_restart_of_the_server(
    own: tuple[Postgres, Database], tmp_path_factory: pytest.TempPathFactory
) -> None:
    server, database = own
    settings = Settings(home=tmp_path_factory.mktemp("home"), **fields(server.environment()))
    ears, speaker = Ears(database), Database.of(settings)
    ears.listener.start()
    assert ears.until(lambda: ears.missed == 1)
    server.restart()
    assert ears.until(lambda: ears.missed >= 2, 60)
    _say(speaker, "after the restart")
    assert ears.until(lambda: ears.heard == ["after the restart"])
    ears.listener.stop()
    speaker.close()


def test_it_ends_when_asked(ears: Ears) -> None:
    started = time.monotonic()
    ears.listener.stop()
    assert time.monotonic() - started < 5
    ears.listener._thread.join(20)  # `stop` itself doesn't wait for long, and a busy machine may
    assert not ears.listener._thread.is_alive()
