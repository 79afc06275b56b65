"""What the platform acknowledged to its caller in one history: what it must never lose."""

from dataclasses import dataclass, field


@dataclass
class Sent:
    """An upload."""

    id: str
    data: bytes
    acknowledged: int = 0
    """Bytes that an answer said are safe."""
    imported_by: str | None = None


@dataclass
class Brought:
    """An import that was accepted."""

    id: str
    dataset: str
    pixels: frozenset[str]
    """Of every picture that it was given."""


@dataclass
class Trained:
    """A job or an evaluation that was accepted."""

    id: str
    bundle: str | None
    """Hash of the bundle that an undisturbed run gives; None for an evaluation, and for that run itself."""


@dataclass
class Told:
    """All of a history's."""

    sent: list[Sent] = field(default_factory=list)
    brought: list[Brought] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What was seen to be wrong on the way."""
