"""What is found after a history: facts without judgement, so that the checker can be tried on planted ones."""

from dataclasses import dataclass


@dataclass(frozen=True)
class UploadFound:
    """An upload's row and what lies under it."""

    offset: int
    data: bytes | None
    """None: a piece is missing."""


@dataclass(frozen=True)
class ImportFound:
    """An import's end and the version that it made."""

    status: str
    pixels: frozenset[str]
    """Of the data set's pictures, decoded from their objects."""
    damaged: tuple[str, ...]
    """Objects that are away, or whose bytes aren't those of their name."""


@dataclass(frozen=True)
class TaskFound:
    """A task and what was told of it."""

    key: str
    status: str
    fence: int
    begun: int
    """Events that say it has begun or goes on: one for each claim."""
    done: int
    """Events that say it is done."""
    epochs: tuple[int, ...]
    """Of its epoch events, in the order of their sequence."""
    epochs_total: int | None


@dataclass(frozen=True)
class ModelFound:
    """A registered version and its bundle."""

    name: str
    hash: str
    opened: str
    """The hash that the opened and verified bundle has, or what is wrong with it."""
    pooled: int | None
    """Images in the pooled statistics."""


@dataclass(frozen=True)
class JobFound:
    """A job or an evaluation."""

    status: str
    ends: tuple[str, ...]
    """Its own final statuses, as told."""
    sequence: int
    published: int
    sequences: tuple[int, ...]
    heard: int | None
    """The highest sequence that the event log told of; None: the log was emptied meanwhile."""
    plan: frozenset[str]
    """Keys of the tasks that it should have."""
    tasks: tuple[TaskFound, ...]
    judged: int
    """Images that take part in the judgement."""
    models: tuple[ModelFound, ...]


@dataclass(frozen=True)
class Evidence:
    """Everything of one history."""

    uploads: dict[str, UploadFound]
    imports: dict[str, ImportFound]
    jobs: dict[str, JobFound]
    strangers: tuple[str, ...]
    """Jobs of this history's data sets that nobody was told of."""
    missing: tuple[str, ...]
    """Objects named by a row that aren't there."""
    leases: tuple[str, ...]
    """Work that is over for nobody: it still has a lease, or waits."""
    outbox: int
    dead: tuple[str, ...]
    """Dead letters that nobody planted."""
    vanished: tuple[str, ...]
    """Planted unreadable messages that nobody put aside."""
