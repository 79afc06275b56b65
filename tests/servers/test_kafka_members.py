"""Topics as declared, members that come back, lag, losses, and logins: what is Kafka's alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from kafka.admin import ConfigResource

from aimic.adapters import kafka_subscription
from aimic.adapters.kafka_clients import administrator
from aimic.adapters.kafka_config import Cluster
from aimic.adapters.kafka_events import KafkaEvents
from aimic.adapters.kafka_metrics import LAG, PUBLISHED
from aimic.adapters.kafka_topics import make_topics
from aimic.errors import UnavailableError
from aimic.events import TOPICS, JobProgressed, ModelsChanged, TaskReady
from aimic.settings import Settings
from services.local.servers.kafka import Kafka
from services.local.servers.together import fields

pytestmark = pytest.mark.servers
WAIT_S = 60.0


@pytest.fixture
def group() -> str:
    return f"g-{uuid4().hex}"


def _ready(task: str) -> TaskReady:
    return TaskReady(site="local", aggregate=task, sequence=1, kind="fold")


def test_topics_are_made_as_declared_by_several_processes_at_once(cluster: Cluster) -> None:
    with administrator(cluster) as admin:
        admin.delete_topics([topic.name for topic in TOPICS], raise_errors=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make_topics, [cluster] * 4))
    with administrator(cluster) as admin:
        found = {topic["name"]: topic for topic in admin.describe_topics([topic.name for topic in TOPICS])}
        asked = [ConfigResource("TOPIC", topic.name) for topic in TOPICS]
        configs = admin.describe_configs(asked, config_filter="all")["topic"]
    for topic in TOPICS:
        assert len(found[topic.name]["partitions"]) == topic.partitions
        assert configs[topic.name]["cleanup.policy"]["value"] == "delete"
        assert configs[topic.name]["retention.ms"]["value"] == str(topic.retention_h * 3_600_000)


def test_a_member_that_does_not_ask_for_long_leaves_and_comes_back(
    events: KafkaEvents, cluster: Cluster, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_subscription, "POLL_S", 6.0)  # beyond what a busy machine takes between two looks
    monkeypatch.setattr(kafka_subscription, "SESSION_S", 6.0)
    monkeypatch.setattr(kafka_subscription, "HEARTBEAT_S", 0.3)
    subscription = events.subscribe((TaskReady.topic,), group)
    events.publish(_ready("a"))
    assert [delivery.key for delivery in subscription.poll(WAIT_S)] == ["a"]
    subscription.commit()

    def members() -> int:
        return len(_members(cluster, group))

    assert members() == 1
    end = time.monotonic() + WAIT_S
    while members():
        assert time.monotonic() < end
        time.sleep(0.3)
    events.publish(_ready("b"))
    assert [delivery.key for delivery in subscription.poll(WAIT_S)] == ["b"]
    assert members() == 1
    subscription.commit()
    subscription.close()
    assert members() == 0


def _members(cluster: Cluster, group: str) -> set[str]:
    with administrator(cluster) as admin:
        return {member["member_id"] for member in admin.describe_groups([group])[group]["members"]}


def test_lag_is_what_is_not_done_with(events: KafkaEvents, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_subscription, "LOOK_S", 0.05)
    subscription = events.subscribe((TaskReady.topic, JobProgressed.topic), group)
    before = PUBLISHED.labels(TaskReady.topic)._value.get()
    for number in range(30):
        events.publish(_ready(f"t{number}"))
    assert PUBLISHED.labels(TaskReady.topic)._value.get() == before + 30
    heard = 0
    end = time.monotonic() + WAIT_S
    while heard < 30 and time.monotonic() < end:
        heard += len(subscription.poll(0.3))
    subscription.poll(0.3)

    def lag(topic: str) -> float:
        return float(LAG.labels(group, topic)._value.get())

    assert (lag(TaskReady.topic), lag(JobProgressed.topic)) == (30, 0)
    subscription.commit()
    subscription.poll(0.3)
    assert lag(TaskReady.topic) == 0
    subscription.close()
    assert (group, TaskReady.topic) not in LAG._metrics


def test_a_topic_that_was_made_anew_is_noticed_without_publishing(events: KafkaEvents, cluster: Cluster) -> None:
    before = events.losses()
    assert events.losses() == before
    with administrator(cluster) as admin:
        admin.delete_topics([ModelsChanged.topic])
    end = time.monotonic() + WAIT_S
    while events.losses() == before:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert events.losses() == before + 1


def test_nothing_is_left_running(cluster: Cluster, group: str) -> None:
    before = {thread.name for thread in threading.enumerate()}
    events = KafkaEvents(cluster)
    subscription = events.subscribe((TaskReady.topic,), group)
    events.publish(_ready("a"))
    assert subscription.poll(WAIT_S)
    started = time.monotonic()
    subscription.close()
    events.close()
    assert time.monotonic() - started < 8
    assert {thread.name for thread in threading.enumerate()} <= before


def test_a_broker_that_hangs_is_away_within_seconds(kafka_server: Kafka, cluster: Cluster, group: str) -> None:
    events = KafkaEvents(cluster)
    subscription = events.subscribe((TaskReady.topic,), group)
    events.publish(_ready("a"))
    assert subscription.poll(WAIT_S)
    kafka_server.pause()
    try:
        for call in (lambda: events.publish(_ready("b")), events.ping, events.losses):
            started = time.monotonic()
            with pytest.raises(UnavailableError) as refused:
                call()
            assert time.monotonic() - started < 20 and "broker" in refused.value.message
        with pytest.raises(UnavailableError):
            while time.monotonic() - started < WAIT_S:
                subscription.poll(0.5)
        started = time.monotonic()
        subscription.close()
        events.close()
        assert time.monotonic() - started < 8
    finally:
        kafka_server.resume()


def test_closing_does_not_wait_for_a_connection_that_is_being_made(kafka_server: Kafka, cluster: Cluster) -> None:
    events = KafkaEvents(cluster)
    kafka_server.pause()
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(events.ping)
            time.sleep(0.5)
            started = time.monotonic()
            events.close()
            assert time.monotonic() - started < 5  # the connection itself is given up after 7
            kafka_server.resume()
            with pytest.raises(UnavailableError):
                asked.result()
    finally:
        kafka_server.resume()


def test_a_login_by_settings(kafka_server: Kafka, group: str) -> None:
    wishes = fields(kafka_server.sasl_environment())
    events = KafkaEvents.of(Settings(**wishes))
    subscription = events.subscribe((TaskReady.topic,), group)
    events.publish(_ready("a"))
    assert [delivery.key for delivery in subscription.poll(WAIT_S)] == ["a"]
    subscription.close()
    events.close()
    wrong = KafkaEvents.of(Settings(**(wishes | {"kafka_password": "not the word"})))
    with pytest.raises(UnavailableError) as refused:
        wrong.ping()
    assert "not the word" not in refused.value.message
    wrong.close()
