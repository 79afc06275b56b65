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
    """A consumer in a group: each message goes to one member of the group, in order per key.

    For one thread at a time. A member that doesn't poll for long loses its part to the others, and is a member
    again with its next poll. After an UnavailableError it may be polled again, and goes on when the log is back.
    """

    def poll(self, timeout_s: float) -> list[Delivery]:
        """Messages after the committed position, at least once; empty after `timeout_s`.

        What can't be read is put aside with the reason, and blocks nothing.
        """

    def commit(self) -> None:
        """Everything polled so far is done with. What was given to another member meanwhile is left to it."""

    def close(self) -> None:
        """Leave the group, within two seconds. What was not committed goes to the others."""


class Events(Protocol):
    """At-least-once topics. UnavailableError when the broker is away."""

    def publish(self, message: Message) -> None:
        """Durably append to the message's own topic under its own key.

        UnavailableError within seconds when that can't be done; the message may be there nevertheless.
        """

    def subscribe(self, topics: tuple[str, ...], group: str) -> Subscription:
        """Join `group`; a new group starts at the end of each topic."""

    def losses(self) -> int:
        """How often a topic was found to be made anew, and so emptied, since this object was made.

        Whoever holds the truth publishes what is open again when the number has grown.
        """

    def ping(self) -> None:
        """Raise UnavailableError when the broker can't be used."""

    def close(self) -> None:
        """Let go of connections, within two seconds."""
