"""What is published stands in the log once, also when the answer was lost and the record went out again."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from aimic.adapters.kafka_config import cluster_of
from aimic.adapters.kafka_events import KafkaEvents
from aimic.adapters.kafka_subscription import KafkaSubscription
from aimic.events import TaskReady
from aimic.settings import Settings
from services.local.servers.kafka import Kafka
from tests.servers.behind import Behind

pytestmark = pytest.mark.servers
WAIT_S = 20.0
NO_ANSWER_MS = 60_000


def _heard(subscription: KafkaSubscription, task: str, within_s: float, most: int) -> int:
    """How often this task is told of, up to `most`."""
    found = 0
    end = time.monotonic() + within_s
    while found < most and time.monotonic() < end:
        found += [delivery.key for delivery in subscription.poll(0.2)].count(task)
    return found


def test_a_record_whose_answer_is_lost_is_sent_again_and_kept_once(
    behind: Behind, kafka_server: Kafka, events: KafkaEvents
) -> None:
    task = uuid4().hex
    message = TaskReady(site="local", aggregate=task, sequence=1, kind="fold")
    subscription = events.subscribe((TaskReady.topic,), f"g-{uuid4().hex}")
    proxied = KafkaEvents(cluster_of(Settings(events_url=kafka_server.proxied_url)))
    proxied.publish(message)
    assert _heard(subscription, task, WAIT_S, 1) == 1
    behind.events.slow(NO_ANSWER_MS)
    with ThreadPoolExecutor(1) as pool:
        published = pool.submit(proxied.publish, message)
        assert _heard(subscription, task, WAIT_S, 1) == 1
        assert not published.done()
        behind.events.heal()  # which breaks the connection that the answer would have come by
        published.result(WAIT_S)
    assert _heard(subscription, task, 2, 1) == 0
    subscription.close()
    proxied.close()


def test_a_record_counts_when_every_copy_that_is_in_step_has_it(events: KafkaEvents) -> None:
    assert events._producer is not None
    told = events._producer._producer.config
    assert (told["acks"], told["enable_idempotence"]) == (-1, True)  # -1 is "all" on the wire
