"""kafka-python's clients, made so that they end: nothing waits for minutes, and what fails at its start leaves nothing.

kafka-python 3 gives each client a thread and sockets in its constructor, and lets go of neither when the
constructor fails; so we make the network part ourselves and close it then.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket

from aimic.adapters.kafka_config import Cluster
from aimic.errors import UnavailableError
from aimic.events import Topic

CONNECT_S = 3.0
"""For a first connection to any of the servers."""
ANSWER_S = 4.0
"""For the answer to one request."""
METADATA_S = 5.0
"""Age after which a client asks again which topics there are: by then a deleted topic is noticed."""
OPEN_S = CONNECT_S + ANSWER_S
"""For a client to be there, whatever the other side does."""
CLOSE_S = 1.5
RETRY_S = 2.0
DISTRUST_RETRY_S = 30.0
_KEPT = "Nothing is lost: what is to be done is in the records, and is told when the broker is back."


class _OwnSocket(socket.socket):
    """Closed with whoever drops it: kafka-python forgets a connection that it makes while it is being closed."""

    def __del__(self) -> None:
        self.close()


class DirectSocket(KafkaNetSocket):  # type: ignore[misc] # kafka-python has no types
    """No proxy: kafka-python's own way to connect, but a socket whose connection failed is closed.

    Else one stays open for each attempt while the broker is away. kafka-python picks the class by the proxy's scheme.
    """

    SCHEMES = ("direct",)

    def socket(self, *kind: int) -> _OwnSocket:
        """A new one."""
        return _OwnSocket(*kind)

    async def sock_connect(self, net: Any, sock: _OwnSocket, sockaddr: Any, timeout_at: float | None = None) -> Any:
        """Connect, or close the socket."""
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise


def arguments(cluster: Cluster) -> dict[str, Any]:
    """What all three kinds of client are told."""
    return {
        "bootstrap_servers": list(cluster.servers),
        "bootstrap_timeout_ms": int(CONNECT_S * 1000),
        "request_timeout_ms": int(ANSWER_S * 1000),
        "metadata_max_age_ms": int(METADATA_S * 1000),
        # The default grows to 30 s: a broker that is back should be noticed at once.
        "reconnect_backoff_max_ms": 1000,
        "proxy_url": f"{DirectSocket.SCHEMES[0]}://",
        **cluster.security,
    }


class Network:
    """Given to a client as the maker of its network part, which we can then reach and close."""

    def __init__(self) -> None:
        self._made: Any = None

    def __call__(self, **configs: Any) -> Any:
        """Make it; kafka-python calls this."""
        limits = {name: int(CONNECT_S * 1000) for name in _SETUP}
        self._made = KafkaNetClient(**configs, **limits)
        # Not handed on by the clients. With it a broker would make missing topics with settings of its own.
        self._metadata.config["allow_auto_create_topics"] = False
        return self._made

    def close(self) -> None:
        """Let go of thread and sockets."""
        if self._made is not None:
            bounded(self._made.close)

    def watch(self, topics: Sequence[Topic]) -> None:
        """Know these topics from now on; KafkaError when the broker doesn't answer."""
        self._metadata.set_topics([topic.name for topic in topics])
        self.refresh()

    def connected(self) -> bool:
        """Whether there is a connection to any server."""
        return any(connection.connected for connection in list(self._made._manager._conns.values()))

    def lacks(self, topic: str) -> bool:
        """Whether the broker said that there is no such topic."""
        return self._metadata.partitions_for_topic(topic) is None

    def topic_id(self, topic: str) -> object:
        """Changes when a topic is deleted and made again; None while it isn't there."""
        return None if self.lacks(topic) else self._metadata.topic_id(topic)

    def refresh(self) -> None:
        """Ask the broker which topics there are; KafkaError when it doesn't answer."""
        answered = threading.Event()
        future = self._metadata.request_update()
        future.add_both(lambda _: answered.set())
        if not answered.wait(CONNECT_S):
            raise KafkaTimeoutError("no answer from any of the servers")
        # A single missing topic fails the answer, which is one nevertheless.
        if future.failed() and not isinstance(future.exception, UnknownTopicOrPartitionError):
            raise future.exception

    @property
    def _metadata(self) -> Any:
        return self._made.cluster


_SETUP = ("socket_connection_setup_timeout_ms", "socket_connection_setup_timeout_max_ms")


@contextlib.contextmanager
def opening(cluster: Cluster) -> Iterator[Network]:
    """The network part for a client that is constructed in this block; closed when the block fails. UnavailableError
    when that is because of a certificate.

    kafka-python waits for a server's part of a TLS handshake without a limit; closing ends that wait too.
    """
    network = Network()
    cluster.trust.theirs = cluster.trust.ours = None
    watchdog = threading.Timer(OPEN_S, network.close)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield network
    except KafkaError as error:
        network.close()
        if words := _distrust(cluster):
            raise UnavailableError(f"{words} {_KEPT}", retry_after_s=DISTRUST_RETRY_S) from error
        raise
    except BaseException:
        network.close()
        raise
    finally:
        watchdog.cancel()
        watchdog.join()


def _distrust(cluster: Cluster) -> str | None:
    """Which certificate is not accepted, and what to do."""
    if why := cluster.trust.theirs:
        return (
            f"The certificate of the event log's broker is not trusted ({why}). Put its authority's certificate into "
            "a file and name that in AIMIC_KAFKA_CA_FILE; in AIMIC_EVENTS_URL, name the broker as its certificate does."
        )
    if why := cluster.trust.ours:
        return (
            f"The event log's broker does not accept our certificate ({why}). Name one that it trusts in "
            "AIMIC_KAFKA_CERT_FILE, and its key in AIMIC_KAFKA_KEY_FILE."
        )
    return None


@contextlib.contextmanager
def administrator(cluster: Cluster) -> Iterator[Any]:
    """An admin client for a few questions."""
    with opening(cluster) as network:
        client = KafkaAdminClient(kafka_client=network, **arguments(cluster))
    try:
        yield client
    finally:
        bounded(client.close)


def bounded(close: Callable[[], object]) -> None:
    """Run `close` for CLOSE_S at most. kafka-python joins its threads without a limit, and a broker that hangs
    must not keep our process from ending; a thread left behind is a daemon and ends with it."""

    def quietly() -> None:
        with contextlib.suppress(KafkaError, OSError, RuntimeError):
            close()

    thread = threading.Thread(target=quietly, name="kafka closes", daemon=True)
    thread.start()
    thread.join(CLOSE_S)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """What kafka-python raises becomes UnavailableError. RuntimeError is what its stopped network part raises."""
    try:
        yield
    except (KafkaError, OSError, RuntimeError) as error:
        why = (str(error) or type(error).__name__)[:300]
        raise UnavailableError(
            f"The broker of the event log can't be used just now ({why}). {_KEPT}",
            retry_after_s=RETRY_S,
        ) from error
