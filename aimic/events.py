"""The typed messages between services, and their topics: the one place that declares them."""

from typing import ClassVar, Literal

from aimic.domain.base import Value


class Message(Value):
    """A message carries its site and the aggregate's sequence, so that handlers can drop what is old."""

    topic: ClassVar[str]
    format: Literal[1] = 1
    site: str
    aggregate: str
    """Id of what it is about; also the key under which order is kept."""
    sequence: int
    traceparent: str = ""
    """The trace that this belongs to (W3C Trace Context). Readers from before there was one pass over it."""

    @property
    def key(self) -> str:
        """Partition key: order is kept among messages with the same key."""
        return self.aggregate


class TaskReady(Message):
    """A wake-up: somebody should ask ingest for a task. Names no owner."""

    topic: ClassVar[str] = "aimic.tasks"
    kind: str


class JobProgressed(Message):
    """There is newer progress of a job in the records, up to `sequence`."""

    topic: ClassVar[str] = "aimic.progress"


class ModelsChanged(Message):
    """What should be served has changed; ask the registry."""

    topic: ClassVar[str] = "aimic.models"


MESSAGES: dict[str, type[Message]] = {kind.topic: kind for kind in (TaskReady, JobProgressed, ModelsChanged)}


class Topic(Value):
    """How a topic is kept, where it has to be made. One that is there already stays as its owner made it.

    None is compacted: the last message of a key never says all, it only says that the records hold something newer.
    """

    name: str
    partitions: int
    """As many members of one group get messages at once; a key stays in its partition."""
    retention_h: int
    """Hours; the records hold the truth, so what nobody heard for so long need not be heard any more."""


DEAD = "aimic.dead"
"""What could not be read, with the reason; nobody subscribes to it but people."""
TOPICS = (
    Topic(name=TaskReady.topic, partitions=12, retention_h=24),
    Topic(name=JobProgressed.topic, partitions=12, retention_h=24),
    Topic(name=ModelsChanged.topic, partitions=1, retention_h=24),
    Topic(name=DEAD, partitions=1, retention_h=30 * 24),
)
MESSAGE_BYTES = 64 * 1024
"""Longest message that is read: ours are a few hundred bytes."""
