"""One connected, idempotent producer whose waits are short."""

import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from aimic.adapters.kafka_clients import CLOSE_S, CONNECT_S, arguments, bounded, opening
from aimic.adapters.kafka_config import Cluster
from aimic.events import TOPICS

DELIVERY_S = 5.0
"""From sending to the acknowledgement, with all that is tried again between."""
_LOOK_S = 0.25
Headers = list[tuple[str, bytes]]


class Producer:
    """Thread-safe. After a failed delivery make another one: the sequence numbers of this one have a gap."""

    def __init__(self, cluster: Cluster) -> None:
        """KafkaError when the broker can't be reached."""
        with opening(cluster) as self._network:
            self._producer: Any = KafkaProducer(
                kafka_client=self._network,
                client_id="aimic",
                enable_idempotence=True,
                acks="all",
                max_block_ms=int(CONNECT_S * 1000),
                delivery_timeout_ms=int(DELIVERY_S * 1000),
                metrics_enabled=False,
                **arguments(cluster),
            )
        self._network.watch(TOPICS)

    def send(self, topic: str, key: bytes, value: bytes, headers: Headers, missing: Callable[[], None]) -> None:
        """Returns when the record is acknowledged; KafkaError after about DELIVERY_S when it isn't.

        `missing` is called when the topic turns out to be gone; a record that waits goes out when it is there again.
        """
        if self.lacks(topic):
            missing()
        future = self._producer.send(topic, value, key, headers)
        end = time.monotonic() + DELIVERY_S + CONNECT_S
        while True:
            try:
                future.get(timeout=_LOOK_S)
                return
            except KafkaTimeoutError:
                if future.is_done or time.monotonic() > end:
                    raise
            if self.lacks(topic):
                missing()

    def lacks(self, topic: str) -> bool:
        """Whether the broker said that there is no such topic."""
        return self._network.lacks(topic)

    def refresh(self) -> None:
        """Ask the broker which topics there are; KafkaError when it doesn't answer."""
        self._network.refresh()

    def topic_id(self, topic: str) -> object:
        """Changes when a topic is deleted and made again; None while it isn't there."""
        return self._network.topic_id(topic)

    def close(self) -> None:
        """Let go of everything; what was not acknowledged by now was told as failed."""

        def close() -> None:
            try:
                self._producer.close(timeout=CLOSE_S / 3)
            except KafkaTimeoutError:
                # Raised while it waits for what can't be delivered, and then nothing is closed.
                self._producer._sender.force_close()
                self._producer._sender.join(CLOSE_S / 3)

        bounded(close)
