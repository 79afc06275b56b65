"""A member of a consumer group. It heals itself: after any trouble the next poll makes a new connection."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaConnectionError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata, TopicPartition

from aimic.adapters.kafka_clients import (
    ANSWER_S,
    CLOSE_S,
    Network,
    administrator,
    arguments,
    bounded,
    opening,
    plain_errors,
)
from aimic.adapters.kafka_config import Cluster
from aimic.adapters.kafka_dead import Append, DeadLetters
from aimic.adapters.kafka_metrics import LAG
from aimic.adapters.kafka_topics import make_missing, make_topics, start_at_end
from aimic.adapters.messages import UnreadableError, read
from aimic.errors import UnavailableError
from aimic.ports.events import Delivery

logger = logging.getLogger(__name__)

SESSION_S = 10.0
"""A member that wasn't heard of for so long is dead, and its partitions go to the others."""
HEARTBEAT_S = 3.0
POLL_S = 60.0
"""A member that didn't ask for so long leaves the group, and joins again when it asks."""
AWAY_S = 5.0
"""Without a connection for so long, the broker is away; before, it may be a restart of one of several."""
ANEW_S = 60.0
LOOK_S = 1.0
"""Between two looks at whether the topics are still the same."""
_AT_ONCE = 200
_FETCH_BYTES = 4 * 1024 * 1024
_NOT_OURS = (CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)


class KafkaSubscription:
    """The Subscription port. For one thread at a time."""

    def __init__(self, cluster: Cluster, topics: tuple[str, ...], group: str, append: Append) -> None:
        self._cluster = cluster
        self._topics = topics
        self._group = group
        self._dead = DeadLetters(append, group)
        self._consumer: Any = None
        self._network: Network | None = None
        self._polled: dict[TopicPartition, int] = {}
        """Position after what was handed out."""
        self._done: dict[TopicPartition, int] = {}
        """Position before what isn't committed."""
        self._ids: dict[str, object] = {}
        self._anew: dict[str, float] = {}
        """Topics that were made anew lately, and until when that matters."""
        self._begun: set[TopicPartition] = set()
        """Their partitions that were put to their start."""
        self._look_at = self._connected_at = 0.0
        with plain_errors():
            with administrator(cluster) as admin:
                make_missing(admin, cluster.replication)
                start_at_end(admin, group, topics)
            self._connect()

    def poll(self, timeout_s: float) -> list[Delivery]:
        """Messages after the committed position; empty after `timeout_s`."""
        end = time.monotonic() + timeout_s
        with self._healing():
            while True:
                left = max(0.0, end - time.monotonic())
                found = self._read(self._consumer.poll(timeout_ms=int(left * 1000), max_records=_AT_ONCE))
                self._dead.settle()
                self._look()
                if found or time.monotonic() >= end:
                    return found

    def commit(self) -> None:
        """Everything polled so far is done with, as far as it is still ours."""
        with self._healing():
            positions = self._positions()
            if not positions:
                return
            try:
                offsets = {part: OffsetAndMetadata(at, "", -1) for part, at in positions.items()}
                self._consumer.commit(offsets, timeout_ms=int(ANSWER_S * 1000))
            except _NOT_OURS as error:
                logger.info("the group was dealt anew; what was read comes again", extra={"reason": str(error)})
            else:
                self._done |= positions

    def close(self) -> None:
        """Leave the group; when the broker can't be told, the others find out after SESSION_S."""
        for topic in self._topics:
            with contextlib.suppress(KeyError):
                LAG.remove(self._group, topic)
        self._drop()

    @contextlib.contextmanager
    def _healing(self) -> Iterator[None]:
        try:
            with plain_errors():
                if self._consumer is None:
                    make_topics(self._cluster)
                    self._connect()
                yield
        except UnavailableError:
            self._drop()
            raise

    def _connect(self) -> None:
        with opening(self._cluster) as network:
            consumer = KafkaConsumer(
                kafka_client=network,
                client_id=f"aimic-{self._group}",
                group_id=self._group,
                enable_auto_commit=False,
                # A new group was put at the end already. A position that is gone means a topic that was made anew,
                # or one that lost what was too old: nothing of what is there was heard.
                auto_offset_reset="earliest",
                session_timeout_ms=int(SESSION_S * 1000),
                heartbeat_interval_ms=int(HEARTBEAT_S * 1000),
                max_poll_interval_ms=int(POLL_S * 1000),
                fetch_max_bytes=_FETCH_BYTES,
                metrics_enabled=False,
                **arguments(self._cluster),
            )
            consumer.subscribe(list(self._topics))
        self._consumer, self._network = consumer, network
        self._connected_at = time.monotonic()
        self._look_at = self._connected_at + LOOK_S  # by then it knows its topics

    def _drop(self) -> None:
        consumer, self._consumer, self._network = self._consumer, None, None
        self._polled.clear()
        self._done.clear()
        self._dead.forget_all()
        if consumer is not None:
            bounded(lambda: consumer.close(autocommit=False, timeout_ms=int(CLOSE_S * 500)))

    def _read(self, fetched: dict[TopicPartition, list[Any]]) -> list[Delivery]:
        ours = self._consumer.assignment()
        self._begun &= ours
        for part in [part for part in self._polled if part not in ours]:
            del self._polled[part]
            self._done.pop(part, None)
            self._dead.forget(part)
        found = []
        for part, records in fetched.items():
            for record in records:
                try:
                    message = read(record.topic, record.value)
                except UnreadableError as error:
                    self._dead.put(record, str(error))
                else:
                    found.append(Delivery(topic=record.topic, key=message.key, position=record.offset, message=message))
            self._done.setdefault(part, records[0].offset)
            self._polled[part] = records[-1].offset + 1
        return found

    def _positions(self) -> dict[TopicPartition, int]:
        """What there is to commit. For a topic that is gone a commit would be tried again and again."""
        positions = {}
        for part, polled in self._polled.items():
            owed = self._dead.before(part)
            position = polled if owed is None else min(polled, owed)
            if position != self._done.get(part) and self._network and not self._network.lacks(part.topic):
                positions[part] = position
        return positions

    def _look(self) -> None:
        """Make topics that are gone, begin anew with those that were made anew, and measure the lag."""
        if time.monotonic() < self._look_at or self._network is None:
            return
        now = time.monotonic()
        self._look_at = now + LOOK_S
        if self._network.connected():
            self._connected_at = now
        elif now - self._connected_at > AWAY_S:
            # kafka-python would go on trying without a word, and nobody would know.
            raise KafkaConnectionError("none of the servers can be reached")
        self._finish_joining()
        for topic in self._topics:
            if self._network.lacks(topic):
                make_topics(self._cluster)
            found = self._network.topic_id(topic)
            known = self._ids.setdefault(topic, found)
            if found is not None and found != known:
                self._ids[topic] = found
                if known is not None:
                    logger.warning("a topic was deleted and made again; it is read from its start", extra={"of": topic})
                    self._anew[topic] = time.monotonic() + ANEW_S
                    self._begun = {part for part in self._begun if part.topic != topic}
            self._begin_anew(topic)
            LAG.labels(self._group, topic).set(self._lag(topic))

    def _finish_joining(self) -> None:
        """kafka-python forgets that it joins when topics change and change back meanwhile, as when one is deleted and
        made again: then it is in no group for ever, and says nothing."""
        coordinator = self._consumer._coordinator
        if not coordinator.stable() and not coordinator.need_rejoin():
            coordinator.request_rejoin()

    def _begin_anew(self, topic: str) -> None:
        """Positions are those of the deleted topic: with them we would pass over what the new one holds.

        A member may commit an old position while the topic is made again, so for a while each partition that
        comes to us is read from its start.
        """
        if time.monotonic() > self._anew.get(topic, 0.0):
            return
        for part in self._consumer.assignment() - self._begun:
            if part.topic == topic:
                self._polled.pop(part, None)
                self._done.pop(part, None)
                self._dead.forget(part)
                # The group may be dealt anew by kafka-python's own thread at any time.
                with contextlib.suppress(IllegalStateError, ValueError):
                    self._consumer.seek_to_beginning(part)
                    self._begun.add(part)

    def _lag(self, topic: str) -> int:
        lag = 0
        for part in self._consumer.assignment():
            if part.topic == topic:
                with contextlib.suppress(IllegalStateError, AssertionError, KeyError):
                    end = self._consumer.highwater(part)
                    done = self._done.get(part)
                    if done is None:
                        done = self._consumer.position(part, timeout_ms=0)
                    lag += max(0, (end or 0) - (done or 0)) if end is not None and done is not None else 0
        return lag
