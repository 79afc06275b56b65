"""Data sets: an immutable manifest per version, and what a person is told about it."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

from aimic.domain.base import Command, Value, canonical_json

_PART = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a manifest, named by the SHA-256 of the bytes we store.

    A plain value with slots, not a model: a hundred thousand of them are in memory at once.
    """

    sha256: str
    label: int
    """Index into the manifest's class list."""
    size: int
    """Stored bytes."""
    group: int | None = None
    """Patient or slide as a dense number in order of first appearance; the real name is elsewhere."""

    @property
    def json(self) -> str:
        """RFC 8785 JSON. Nothing in it needs escaping."""
        group = "null" if self.group is None else self.group
        return f'{{"group":{group},"label":{self.label},"sha256":"{self.sha256}","size":{self.size}}}'


class Manifest(Value):
    """What a data set version is: samples in a fixed order, classes in a fixed order, one hash."""

    format: Literal[1] = 1
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]

    def canonical(self) -> Iterator[bytes]:
        """The RFC 8785 canonical JSON in parts: what is stored, and hashed. Whole it would be there three times."""
        yield b'{"classes":' + canonical_json(list(self.classes)) + b',"format":1,"samples":['
        for start in range(0, len(self.samples), _PART):
            part = ",".join(sample.json for sample in self.samples[start : start + _PART])
            yield ("," if start else "").encode() + part.encode()
        yield b"]}"

    @cached_property
    def hash(self) -> str:
        """Hex SHA-256 of the canonical JSON; jobs, bundles and reports name it."""
        digest = hashlib.sha256()
        for part in self.canonical():
            digest.update(part)
        return digest.hexdigest()

    def counts(self) -> tuple[int, ...]:
        """Samples per class, in class order."""
        seen = Counter(sample.label for sample in self.samples)
        return tuple(seen[index] for index in range(len(self.classes)))


class Level(StrEnum):
    """How loudly a finding speaks."""

    INFO = "info"
    WARNING = "warning"


class Finding(Value):
    """Something a person should know before training, in plain words."""

    code: str
    """Stable identifier, such as `near_duplicates_across_classes`."""
    level: Level = Level.WARNING
    message: str
    details: dict[str, Any] = {}


class Refusal(Value):
    """One file that did not go in, and why."""

    name: str
    code: str
    reason: str


class LabelRule(Command):
    """Where labels and groups come from. With nothing set: the folder directly above the file."""

    labels_csv: str | None = None
    """Text of a CSV with a header: a file column (file|filename|image|path|name), a label column
    (label|class|category), and optionally group|patient|slide and fold|split columns."""
    label_pattern: str | None = None
    """Regular expression searched in the path below the root, with a named group `label`."""
    group_pattern: str | None = None
    """Regular expression searched in the path below the root, with a named group `group`
    (or exactly one unnamed group)."""
    label_names: dict[str, str] = {}
    """Optional renaming of raw labels, such as {"1": "ALL", "0": "healthy"}."""


class ImportRequest(Command):
    """Bring finished uploads (archives or single images) into a data set, as its next version."""

    dataset: str
    uploads: tuple[str, ...]
    labels: LabelRule = LabelRule()


class ImportStatus(StrEnum):
    """The life of an import."""

    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Import(Value):
    """The state of one import; the counts go up while it runs."""

    id: str
    dataset: str
    status: ImportStatus
    phase: str = ""
    """waiting, reading, importing, checking, done or failed."""
    seen: int = 0
    """Files looked at."""
    total: int | None = None
    """Files to look at, once known."""
    stored: int = 0
    """New images stored."""
    known: int = 0
    """Images that were there already."""
    refused: int = 0
    ignored: int = 0
    """Hidden files and the like."""
    version: int | None = None
    """The data set version made, once done."""
    error: str | None = None
    """Why it failed; in phase `waiting`, what it waits for (such as room on the disk) before it goes on by itself."""
    eta_s: float | None = None
    """Seconds that the present phase will probably still take; None while not known."""
    created_at: datetime


class DatasetVersion(Value):
    """One immutable version, with what is worth knowing about it."""

    dataset: str
    version: int
    manifest_hash: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    groups: int | None
    """How many patients or slides are known; None when nobody said."""
    refused: int
    findings: tuple[Finding, ...]
    created_at: datetime


class Dataset(Value):
    """A named data set and its newest version."""

    name: str
    latest: DatasetVersion | None
    created_at: datetime


class SampleView(Value):
    """One sample as a person sees it in a list; `name` is the owner's view only."""

    sha256: str
    label: str
    group: int | None
    name: str | None
    width: int
    height: int
    media_type: str
    size: int


class Upload(Value):
    """A resumable upload (tus 1.0): `offset` bytes of `length` are safe."""

    id: str
    filename: str
    length: int
    offset: int
    fingerprint: str | None = None
    """The client's name for the same bytes, so that a second try finds the first."""
