"""The sockets of Kafka's clients."""

import gc
import socket
import warnings

from kafka.net.inet import KafkaNetSocket

from aimic.adapters.kafka_clients import DirectSocket


def test_a_socket_that_is_forgotten_is_closed_without_a_warning() -> None:
    """kafka-python drops one now and then, when a client is closed while it connects."""
    forgotten = KafkaNetSocket(f"{DirectSocket.SCHEMES[0]}://").socket(
        socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    number = forgotten.fileno()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del forgotten
        gc.collect()
    assert number >= 0 and [each for each in told if each.category is ResourceWarning] == []
