"""What a group can't read is found in the dead-letter topic, also when that was away for a while."""

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, TopicPartition

from aimic.adapters import kafka_dead
from aimic.adapters.kafka_clients import arguments, opening
from aimic.adapters.kafka_config import Cluster
from aimic.adapters.kafka_events import KafkaEvents
from aimic.adapters.kafka_metrics import DEAD_LETTERS
from aimic.adapters.kafka_producer import Headers
from aimic.adapters.kafka_subscription import KafkaSubscription
from aimic.errors import UnavailableError
from aimic.events import DEAD, TaskReady

pytestmark = pytest.mark.servers
WAIT_S = 60.0


@pytest.fixture
def letters(cluster: Cluster) -> Iterator[Callable[[str, int], list[Any]]]:
    """`letters(group, count)`: what this group put aside."""
    with opening(cluster) as network:
        consumer = KafkaConsumer(kafka_client=network, metrics_enabled=False, **arguments(cluster))

    def read(group: str, count: int) -> list[Any]:
        part = TopicPartition(DEAD, 0)
        consumer.assign([part])
        consumer.seek_to_beginning(part)
        found: list[Any] = []
        end = time.monotonic() + WAIT_S
        while len(found) < count and time.monotonic() < end:
            records = consumer.poll(timeout_ms=500).get(part, [])
            found += [record for record in records if dict(record.headers)["group"] == group.encode()]
        return found

    yield read
    consumer.close(autocommit=False, timeout_ms=1000)


def _ready(sequence: int) -> TaskReady:
    return TaskReady(site="local", aggregate="strange", sequence=sequence, kind="fold")


def _drain(subscription: KafkaSubscription, count: int) -> list[int]:
    found: list[int] = []
    end = time.monotonic() + WAIT_S
    while len(found) < count and time.monotonic() < end:
        found += [delivery.message.sequence for delivery in subscription.poll(0.5)]
        subscription.commit()
    return found


def test_a_letter_holds_the_record_its_place_and_the_reason(
    events: KafkaEvents, letters: Callable[[str, int], list[Any]]
) -> None:
    group = f"g-{uuid4().hex}"
    subscription = events.subscribe((TaskReady.topic,), group)
    for value in (b"hello", None, b"x" * 900_000):
        assert events._producer is not None
        events._producer._producer.send(TaskReady.topic, value, b"strange").get(10)
    events.publish(_ready(1))
    assert _drain(subscription, 1) == [1]
    found = letters(group, 3)
    assert [record.value for record in found[:2]] == [b"hello", b""] and len(found[2].value) == 65_536
    told = [dict(record.headers) for record in found]
    assert b"JSON" in told[0]["reason"] and b"no value" in told[1]["reason"] and told[2]["bytes"] == b"900000"
    assert {each["topic"] for each in told} == {b"aimic.tasks"} and len({each["partition"] for each in told}) == 1
    assert [int(each["offset"]) - int(told[0]["offset"]) for each in told] == [0, 1, 2]
    assert DEAD_LETTERS.labels(TaskReady.topic, group, "topic")._value.get() == 3
    subscription.close()


def test_while_the_topic_is_away_the_letter_is_owed_and_the_rest_is_heard(
    events: KafkaEvents, letters: Callable[[str, int], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_dead, "AGAIN_S", 0.1)
    group = f"g-{uuid4().hex}"

    def away(topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        raise UnavailableError("not now")

    subscription = events.subscribe((TaskReady.topic,), group)
    append = subscription._dead._append
    subscription._dead._append = away
    events._append(TaskReady.topic, b"strange", b"hello", [])
    events.publish(_ready(1))
    assert _drain(subscription, 1) == [1]
    subscription.close()  # as if we died: the letter is not lost, and what followed it comes again
    again = events.subscribe((TaskReady.topic,), group)
    again._dead._append = away
    assert _drain(again, 1) == [1]
    again._dead._append = append
    events.publish(_ready(2))
    assert _drain(again, 1) == [2]
    while again._dead._owed:  # it is tried again after AGAIN_S
        again.poll(0.1)
        again.commit()
    assert len(letters(group, 1)) == 1
    again.close()
    last = events.subscribe((TaskReady.topic,), group)
    assert last.poll(2) == []
    last.close()
