"""When a worker asks, and when it ends; ingest and the event log are played here."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aimic.domain.job import TaskKind
from aimic.errors import UnavailableError
from aimic.events import TaskReady
from aimic.ports.events import Delivery
from aimic.telemetry import traceparent
from services.trainer import listener, worker
from services.trainer.settings import Settings, child_environment
from services.trainer.worker import Worker


class PlayedIngest:
    """Has nothing to do, or is away; ends the worker after some questions."""

    def __init__(self, questions: int, away: bool = False) -> None:
        self.left = questions
        self.away = away
        self.worker: Worker | None = None

    def claim(self, name: str, kinds: Sequence[TaskKind]) -> None:
        assert set(kinds) == set(TaskKind)
        self.left -= 1
        if self.left == 0 and self.worker is not None:
            self.worker.stop()
        if self.away:
            raise UnavailableError("away")


class PlayedEvents:
    """Wakes up at once, or never, or is broken."""

    def __init__(self, wakes: bool = False, broken: bool = False, traceparent: str = "") -> None:
        self.wakes = wakes
        self.traceparent = traceparent
        self.broken = broken
        self.committed = 0
        self.closed = False

    def subscribe(self, topics: tuple[str, ...], group: str) -> "PlayedEvents":
        assert topics == ("aimic.tasks",)
        if self.broken:
            raise UnavailableError("no broker")
        return self

    def poll(self, timeout_s: float) -> list[Delivery]:
        message = TaskReady(site="local", aggregate="t", sequence=1, kind="fold", traceparent=self.traceparent)
        if self.wakes:
            return [Delivery(topic="aimic.tasks", key="t", position=1, message=message)]
        threading.Event().wait(timeout_s)
        return []

    def commit(self) -> None:
        self.committed += 1

    def close(self) -> None:
        self.closed = True


def _worker(home: Path, ingest: PlayedIngest, events: PlayedEvents, **settings: Any) -> Worker:
    first: Any = ingest
    second: Any = events
    made = Worker(Settings(home=home, **settings), first, second)
    ingest.worker = made
    return made


@pytest.mark.timeout(60)
def test_a_wake_up_makes_it_ask_at_once(tmp_path: Path) -> None:
    ingest, events = PlayedIngest(5), PlayedEvents(wakes=True)
    _worker(tmp_path, ingest, events, trainer_poll_s=1000).run()
    assert ingest.left == 0
    assert events.committed >= 4
    assert events.closed


@pytest.mark.timeout(60)
def test_a_question_is_a_part_of_the_trace_that_woke_it(tmp_path: Path) -> None:
    where = f"00-{'a' * 32}-{'b' * 16}-01"
    found: list[str] = []

    class NotingIngest(PlayedIngest):
        def claim(self, name: str, kinds: Sequence[TaskKind]) -> None:
            found.append(traceparent.get())
            super().claim(name, kinds)

    events = PlayedEvents(wakes=True, traceparent=where)
    _worker(tmp_path, NotingIngest(4), events, trainer_poll_s=1000).run()
    assert found[0] == "" and where in found


@pytest.mark.timeout(60)
@pytest.mark.parametrize("broken", [True, False])
def test_it_asks_now_and_then_without_wake_ups(tmp_path: Path, broken: bool) -> None:
    ingest = PlayedIngest(4)
    _worker(tmp_path, ingest, PlayedEvents(broken=broken), trainer_poll_s=0.05).run()
    assert ingest.left == 0


@pytest.mark.timeout(60)
def test_a_subscription_that_broke_is_closed_before_another_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "AGAIN_S", 0.01)

    class BreaksEvents(PlayedEvents):
        alive = made = 0

        def subscribe(self, topics: tuple[str, ...], group: str) -> PlayedEvents:
            self.alive += 1
            self.made += 1
            if self.made == 3:
                made.stop()
            return self

        def poll(self, timeout_s: float) -> list[Delivery]:
            raise UnavailableError("the log is locked")

        def close(self) -> None:
            self.alive -= 1

    events = BreaksEvents()
    made = _worker(tmp_path, PlayedIngest(10**6), events, trainer_poll_s=0.05)
    made.run()
    assert events.made >= 3
    assert events.alive == 0


@pytest.mark.timeout(60)
def test_a_machine_for_one_task_ends_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    ingest = PlayedIngest(100)
    _worker(tmp_path, ingest, PlayedEvents(), trainer_until_idle=True).run()
    assert ingest.left == 99


@pytest.mark.timeout(60)
def test_an_ingest_that_is_away_is_no_reason_to_end_but_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_S", 0.01)
    ingest = PlayedIngest(3, away=True)
    made = _worker(tmp_path, ingest, PlayedEvents(), trainer_until_idle=True, trainer_poll_s=0.02)
    assert made.not_ready() is None
    made.run()
    assert ingest.left == 0
    assert made.not_ready() == "ingest can't be reached"


@pytest.mark.parametrize("wakes", [True, False])
@pytest.mark.timeout(60)
def test_what_is_away_is_asked_again_soon_and_wake_ups_make_it_no_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wakes: bool
) -> None:
    monkeypatch.setattr(worker, "AWAY_S", 0.2)
    ingest = PlayedIngest(4, away=True)
    began = time.monotonic()
    _worker(tmp_path, ingest, PlayedEvents(wakes=wakes), trainer_poll_s=1000).run()
    assert ingest.left == 0
    assert time.monotonic() - began > 0.55


@pytest.mark.timeout(60)
def test_a_disk_that_can_not_be_tidied_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(worker, "forget_old", broken)
    ingest = PlayedIngest(3)
    _worker(tmp_path, ingest, PlayedEvents(), trainer_poll_s=0.05).run()
    assert ingest.left == 0


def test_the_child_gets_its_threads_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "WORKER_KEY", "S3_SECRET_KEY", "RECORDS_PASSWORD", "KAFKA_PASSWORD_FILE"):
        monkeypatch.setenv(f"AIMIC_{name}", "secret")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    environment = child_environment(3)
    assert environment["OMP_NUM_THREADS"] == "3"
    # With a spin count, libgomp doesn't look at the policy.
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "GOMP_SPINCOUNT" not in environment
    assert "secret" not in environment.values()


def test_one_machine_asks_more_often_than_a_cluster(tmp_path: Path) -> None:
    here = Settings(home=tmp_path)
    there = Settings(home=tmp_path, events_url="kafka://broker:9092")
    assert here.poll_s < there.poll_s == 30
