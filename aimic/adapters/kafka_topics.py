"""Topics are made where they are missing, by whoever notices first, and a new group begins at their end."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kafka import TopicPartition
from kafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    RetriableError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.protocol.consumer import OffsetSpec
from kafka.structs import OffsetAndMetadata

from aimic.adapters.kafka_clients import ANSWER_S, administrator
from aimic.adapters.kafka_config import Cluster
from aimic.events import TOPICS, Topic

READY_S = 4.0
"""For a new topic to have a leader, or for a broker that has just started to find out who leads a group."""
_PAUSE_S = 0.2
_T = TypeVar("_T")


def make_topics(cluster: Cluster) -> None:
    """Make what is missing of TOPICS; returns when all of them can be used. KafkaError when that can't be done."""
    with administrator(cluster) as admin:
        make_missing(admin, cluster.replication)


def make_missing(admin: Any, replication: int) -> None:
    """The same with an admin client at hand. Two processes that do this at once are no harm."""
    names = [topic.name for topic in TOPICS]
    errors = {topic["name"]: for_code(topic["error_code"]) for topic in admin.describe_topics(names)}
    missing = [topic for topic in TOPICS if errors.get(topic.name) is UnknownTopicOrPartitionError]
    if not missing:
        return
    wishes = {topic.name: _wish(topic, replication) for topic in missing}
    answer = admin.create_topics(wishes, timeout_ms=int(ANSWER_S * 1000), raise_errors=False)
    for topic in answer["topics"]:
        error = for_code(topic["error_code"])
        if error in {TopicAuthorizationFailedError, ClusterAuthorizationFailedError}:
            raise error(f"the topic {topic['name']} is missing, and we may not make it; whoever runs Kafka can")
        if topic["error_code"] and error is not TopicAlreadyExistsError:
            raise error(f"the topic {topic['name']} can't be made: {topic.get('error_message')}")
    admin.wait_for_topics(list(wishes), timeout_ms=int(READY_S * 1000))


def _wish(topic: Topic, replication: int) -> dict[str, Any]:
    configs = {"cleanup.policy": "delete", "retention.ms": str(topic.retention_h * 3_600_000)}
    if replication > 2:
        # With one copy acknowledged, "durable" would mean one disk.
        configs["min.insync.replicas"] = "2"
    return {"num_partitions": topic.partitions, "replication_factor": replication, "configs": configs}


def start_at_end(admin: Any, group: str, topics: Sequence[str]) -> None:
    """Where the group is new to a topic, its position is the end as it is now.

    Positions are set before any member joins, so that what is published from now on is heard however long joining
    takes. The broker takes them only while the group has no member; if it has one, that one has set them. Two
    first members at once may both set them, some milliseconds apart: what came between is then not heard, which
    a wake-up can bear.
    """
    known = _patiently(lambda: admin.list_group_offsets({group: None})[group])
    told = {partition.topic for partition, position in known.items() if position.offset >= 0}
    new = [topic for topic in topics if topic not in told]
    if not new:
        return
    partitions = [
        TopicPartition(topic["name"], partition["partition_index"])
        for topic in admin.describe_topics(new)
        for partition in topic["partitions"]
    ]
    ends = _patiently(lambda: admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST)))
    positions = {partition: OffsetAndMetadata(end.offset, "", end.leader_epoch) for partition, end in ends.items()}

    def write() -> None:
        for error in admin.alter_group_offsets(group, positions).values():
            if issubclass(error, RetriableError):
                raise error

    _patiently(write)


def _patiently(ask: Callable[[], _T]) -> _T:
    """Ask again for a while: right after its start a broker doesn't know yet who leads a group or a partition."""
    end = time.monotonic() + READY_S
    while True:
        try:
            return ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > end:
                raise
        time.sleep(_PAUSE_S)
