"""The outbox and its relay: nothing is lost between the records and the log."""

from typing import Any

import pytest
from sqlalchemy import func, select, update

from aimic.errors import UnavailableError
from aimic.events import JobProgressed, Message, ModelsChanged, TaskReady
from aimic.telemetry import traceparent
from services.ingest import relay_lease
from services.ingest.outbox import OutboxRow, post
from services.ingest.relay import Relay
from services.ingest.relay_lease import HOLDER

TOPICS = (TaskReady.topic, JobProgressed.topic, ModelsChanged.topic)


def _outbox(scene: Any) -> int:
    with scene.parts.database.read("*") as session:
        return int(session.scalar(select(func.count()).select_from(OutboxRow)) or 0)


def _away(message: Message) -> None:
    raise UnavailableError("away")


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
    scene.start()
    with monkeypatch.context() as patch:
        patch.setattr(scene.parts.events, "publish", _away)
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


def test_who_ends_or_cannot_reach_the_log_hands_over_at_once(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _relay(scene), Relay(scene.parts)
    scene.start()
    assert HOLDER._value.get() == 1
    first.leave()
    assert HOLDER._value.get() == 0
    second.run_one()
    assert _outbox(scene) == 0
    scene.start()
    with monkeypatch.context() as patch:
        patch.setattr(scene.parts.events, "publish", _away)
        with pytest.raises(UnavailableError):
            second.run_one()
    first.run_one()
    assert _outbox(scene) == 0


def test_an_idle_holder_keeps_the_lease(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_lease, "RENEW_S", 0)
    first, second = _relay(scene), Relay(scene.parts)
    for ahead_s in (2, 4, 6):
        scene.clock.ahead_s = ahead_s
        assert first.run_one() is False
    scene.start()
    second.run_one()
    assert _outbox(scene) == 2
    first.run_one()
    assert _outbox(scene) == 0


def _post(scene: Any, *messages: Message) -> None:
    with scene.parts.database.begin("local") as session:
        for message in messages:
            post(session, message, scene.parts.database.now(session))


def _ready(task: str, sequence: int) -> TaskReady:
    return TaskReady(site="local", aggregate=task, sequence=sequence, kind="fold")


def test_however_long_the_log_is_away_one_message_of_each_waits(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    relay = _relay(scene)
    heard = scene.parts.events.subscribe(TOPICS, "test")
    with monkeypatch.context() as patch:
        patch.setattr(scene.parts.events, "publish", _away)
        for sequence in range(1, 30):
            _post(scene, _ready("a", sequence), _ready("b", 2 * sequence))
            with pytest.raises(UnavailableError):
                relay.run_one()
            assert _outbox(scene) == 2
    relay.run_one()
    assert {(d.key, d.message.sequence) for d in heard.poll(2)} == {("a", 29), ("b", 58)}
    heard.close()


def test_a_message_is_published_within_the_trace_that_it_carries(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    where = f"00-{'a' * 32}-{'b' * 16}-01"
    found: dict[str, str] = {}

    def publish(message: Message) -> None:
        found[message.aggregate] = traceparent.get()

    monkeypatch.setattr(scene.parts.events, "publish", publish)
    relay = _relay(scene)
    _post(scene, _ready("a", 1).model_copy(update={"traceparent": where}), _ready("b", 1))
    relay.run_one()
    assert found == {"a": where, "b": ""}


def test_what_cannot_be_read_keeps_nothing_back(scene: Any) -> None:
    relay = _relay(scene)
    heard = scene.parts.events.subscribe(TOPICS, "test")
    _post(scene, _ready("a", 1), _ready("b", 1))
    with scene.parts.database.begin("local") as session:
        session.execute(update(OutboxRow).where(OutboxRow.aggregate == "a").values(body={"format": 99}))
    relay.run_one()
    assert [delivery.key for delivery in heard.poll(2)] == ["b"] and _outbox(scene) == 0
    heard.close()


def test_a_topic_that_was_made_anew_gets_what_is_open_at_once(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = scene.start()
    relay = _relay(scene)
    heard = scene.parts.events.subscribe(TOPICS, "test")
    assert relay.run_one() is False and heard.poll(0.1) == []
    monkeypatch.setattr(scene.parts.events, "losses", lambda: 1)
    relay.run_one()
    again = {delivery.key for delivery in heard.poll(2)}
    assert again >= {task["id"] for task in job["tasks"] if task["status"] == "ready"}
    relay.run_one()
    assert heard.poll(0.1) == []
    heard.close()


def test_with_the_log_emptied_what_is_open_is_published_again(scene: Any) -> None:
    job = scene.start()
    _relay(scene)
    heard = scene.parts.events.subscribe(TOPICS, "after the loss")
    scene.clock.ahead_s = 6
    _relay(scene)
    again = {d.message.aggregate for d in heard.poll(2) if isinstance(d.message, TaskReady)}
    assert again == {task["id"] for task in job["tasks"] if task["status"] == "ready"}
    heard.close()
