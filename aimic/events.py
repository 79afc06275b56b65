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
