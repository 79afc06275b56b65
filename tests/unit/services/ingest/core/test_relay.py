"""The outbox and its relay: nothing is lost between the records and the log."""

from typing import Any

import pytest
from sqlalchemy import func, select

from aimic.errors import UnavailableError
from aimic.events import JobProgressed, ModelsChanged, TaskReady
from services.ingest.outbox import OutboxRow
from services.ingest.relay import Relay

TOPICS = (TaskReady.topic, JobProgressed.topic, ModelsChanged.topic)


def _outbox(scene: Any) -> int:
    with scene.parts.database.read("*") as session:
        return int(session.scalar(select(func.count()).select_from(OutboxRow)) or 0)


def _relay(scene: Any) -> Relay:
    relay = Relay(scene.parts)
    while relay.run_one():
        pass
    return relay


def test_a_job_wakes_the_workers_once_per_ready_task(scene: Any) -> None:
    relay = _relay(scene)
    heard = scene.parts.events.subscribe(TOPICS, "test")
    job = scene.start()
    assert _outbox(scene) == 2
    relay.run_one()
    messages = [delivery.message for delivery in heard.poll(2)]
    ready = {task["id"] for task in job["tasks"] if task["status"] == "ready"}
    assert {message.aggregate for message in messages if isinstance(message, TaskReady)} == ready
    assert [m.aggregate for m in messages if isinstance(m, JobProgressed)] == [job["id"]]
    assert _outbox(scene) == 0 and relay.run_one() is False and heard.poll(0.1) == []
    heard.close()


def test_while_the_log_is_away_messages_wait(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = _relay(scene)

    def away(message: object) -> None:
        raise UnavailableError("away")

    scene.start()
    with monkeypatch.context() as patch:
        patch.setattr(scene.parts.events, "publish", away)
        with pytest.raises(UnavailableError):
            relay.run_one()
    assert _outbox(scene) == 2
    relay.run_one()
    assert _outbox(scene) == 0


def test_one_relay_works_and_another_takes_over(scene: Any) -> None:
    first, second = _relay(scene), Relay(scene.parts)
    scene.start()
    first.run_one()
    scene.start()
    second.run_one()
    assert _outbox(scene) == 2
    scene.clock.ahead_s = 6
    second.run_one()
    assert _outbox(scene) == 0


def test_with_the_log_emptied_what_is_open_is_published_again(scene: Any) -> None:
    job = scene.start()
    _relay(scene)
    heard = scene.parts.events.subscribe(TOPICS, "after the loss")
    scene.clock.ahead_s = 6
    _relay(scene)
    again = {d.message.aggregate for d in heard.poll(2) if isinstance(d.message, TaskReady)}
    assert again == {task["id"] for task in job["tasks"] if task["status"] == "ready"}
    heard.close()
