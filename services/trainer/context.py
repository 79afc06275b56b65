"""What every kind of task is given, and what it gives back."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimic.domain.work import Claim, TaskInput
from aimic.errors import CorruptError
from services.trainer.reports import Reporter
from services.trainer.spec import ChildSpec


class StoppedError(Exception):
    """We were asked to stop; whatever should be kept has been written."""


@dataclass(frozen=True)
class Outcome:
    """What a task leaves: facts as JSON, and files by object name."""

    result: dict[str, Any]
    files: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """One task in its child process."""

    spec: ChildSpec
    directory: Path
    """The child's own, removed by the worker afterwards."""
    report: Reporter
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def claim(self) -> Claim:
        """The task as ingest gave it."""
        return self.spec.claim

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of every sample of the manifest, in order."""
        return tuple(sample.sha256 for sample in self.spec.samples)

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Class of every sample as a position in the split's classes; -1 for classes set aside."""
        place = {label: position for position, label in enumerate(self.claim.split.classes)}
        return np.array([place.get(sample.label, -1) for sample in self.spec.samples], dtype=np.int64)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that take part, in the order of the logits."""
        return tuple(self.claim.classes[label] for label in self.claim.split.classes)

    def check_stop(self) -> None:
        """Raise StoppedError when we were asked to stop; else let the worker know, now and then, that we live."""
        if self.stop.is_set():
            raise StoppedError
        self.report.alive()

    def file(self, name: str) -> Path:
        """Where to write an object of the result."""
        folder = self.directory / "result"
        folder.mkdir(exist_ok=True)
        return folder / name

    def inputs(self, belongs: Callable[[str], bool]) -> dict[str, TaskInput]:
        """What the tasks before us left, by key, for the keys that belong; CorruptError when there is none."""
        found = {key: value for key, value in sorted(self.claim.inputs.items()) if belongs(key)}
        if not found:
            raise CorruptError(f"Task {self.claim.task.key} was given nothing of the tasks it waited for.")
        return found
