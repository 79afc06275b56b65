"""The promise of an event log. It carries wake-ups and progress, never the truth."""

from typing import Protocol

from aimic.domain.base import Value
from aimic.events import Message


class Delivery(Value):
    """One message as it came from a topic."""

    topic: str
    key: str
    position: int
    message: Message


class Subscription(Protocol):
    """A consumer in a group: each message goes to one member of the group, in order per key."""

    def poll(self, timeout_s: float) -> list[Delivery]:
        """Messages after the committed position, at least once; empty after `timeout_s`."""

    def commit(self) -> None:
        """Everything polled so far is done with."""

    def close(self) -> None:
        """Leave the group."""


class Events(Protocol):
    """At-least-once topics. UnavailableError when the broker is away."""

    def publish(self, message: Message) -> None:
        """Durably append to the message's own topic under its own key."""

    def subscribe(self, topics: tuple[str, ...], group: str) -> Subscription:
        """Join `group`; a new group starts at the end of each topic."""

    def ping(self) -> None:
        """Raise UnavailableError when the broker can't be used."""

    def close(self) -> None:
        """Let go of connections."""
