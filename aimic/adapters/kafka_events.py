"""Events on Kafka, by kafka-python 3. Topics, their partitions and their retention are declared in aimic/events.py."""

import logging
import threading
import time

from aimic.adapters.kafka_clients import RETRY_S, plain_errors
from aimic.adapters.kafka_config import Cluster, cluster_of
from aimic.adapters.kafka_metrics import PUBLISHED
from aimic.adapters.kafka_producer import Headers, Producer
from aimic.adapters.kafka_subscription import KafkaSubscription
from aimic.adapters.kafka_topics import make_topics
from aimic.errors import UnavailableError
from aimic.events import TOPICS, Message
from aimic.settings import Settings

REFUSE_S = 1.0
"""After a connection failed, for so long nobody waits for another one to fail."""
_LOCK_S = 0.3


class KafkaEvents:
    """The Events port. Thread-safe; connects when it is first used, and again after any trouble."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._refuse_until = 0.0
        self._closed = False
        self._ids: dict[str, object] = {}
        self._losses = 0
        # kafka-python logs each failed connection, several a second, as errors. What matters reaches our own
        # log once, as the reason of an UnavailableError.
        logging.getLogger("kafka").setLevel(logging.CRITICAL)

    @classmethod
    def of(cls, settings: Settings) -> "KafkaEvents":
        """From `kafka://…` or `kafka+tls://…` in AIMIC_EVENTS_URL and the settings AIMIC_KAFKA_…."""
        return cls(cluster_of(settings))

    def publish(self, message: Message) -> None:
        """Durably append: acknowledged by every copy that is in step."""
        self._append(message.topic, message.key.encode(), message.model_dump_json().encode(), [])
        PUBLISHED.labels(message.topic).inc()

    def subscribe(self, topics: tuple[str, ...], group: str) -> KafkaSubscription:
        """Join `group`; a new group starts at the end of each topic."""
        return KafkaSubscription(self._cluster, topics, group, self._append)

    def losses(self) -> int:
        """How often a topic was found to be made anew. Makes what is missing."""
        producer = self._connected()
        with plain_errors():
            if any(producer.lacks(topic.name) for topic in TOPICS):
                make_topics(self._cluster)
                producer.refresh()
        with self._lock:
            for topic in TOPICS:
                found = producer.topic_id(topic.name)
                known = self._ids.setdefault(topic.name, found)
                if None not in (found, known) and found != known:
                    self._losses += 1
                self._ids[topic.name] = found or known
            return self._losses

    def ping(self) -> None:
        """Raise UnavailableError when no broker answers."""
        producer = self._connected()
        with plain_errors():
            producer.refresh()

    def close(self) -> None:
        """Let go of connections, within two seconds. A thread that is connecting just now lets go of its own."""
        self._closed = True
        if not self._lock.acquire(timeout=_LOCK_S):
            return
        try:
            producer, self._producer = self._producer, None
        finally:
            self._lock.release()
        if producer is not None:
            producer.close()

    def _append(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        producer = self._connected()
        try:
            with plain_errors():
                producer.send(topic, key, value, headers, missing=lambda: make_topics(self._cluster))
        except UnavailableError:
            self._drop(producer)
            raise

    def _connected(self) -> Producer:
        with self._lock:
            if self._closed or time.monotonic() < self._refuse_until:
                raise UnavailableError("The broker of the event log can't be used just now.", retry_after_s=RETRY_S)
            if self._producer is None:
                try:
                    self._producer = self._connect()
                except UnavailableError:
                    self._refuse_until = time.monotonic() + REFUSE_S
                    raise
            return self._producer

    def _connect(self) -> Producer:
        with plain_errors():
            make_topics(self._cluster)
            producer = Producer(self._cluster)
        if self._closed:
            producer.close()
            raise UnavailableError("The event log was closed.", retry_after_s=RETRY_S)
        return producer

    def _drop(self, producer: Producer) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None
        producer.close()
