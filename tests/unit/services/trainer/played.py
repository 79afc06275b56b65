"""An ingest and a child that are played, and a task run between the two."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aimic.domain.job import ProgressKind, TaskKind
from aimic.domain.work import Claim, ObjectSlot, ProgressItem, Renewal, TaskSample
from services.trainer.reports import Report
from services.trainer.run import Ending, TaskRun
from services.trainer.settings import Settings


class PlayedIngest:
    """Notes every call; raises what it was told to, once each."""

    def __init__(self, samples: tuple[TaskSample, ...], store: Path, claim: Claim) -> None:
        self.claim = claim
        self.calls: list[tuple[str, Any]] = []
        self.raises: dict[str, list[Exception]] = {}
        self.cancel = False
        self._samples = samples
        self._store = store

    def _note(self, name: str, value: Any = None) -> None:
        self.calls.append((name, value))
        if self.raises.get(name):
            raise self.raises[name].pop(0)

    def names(self) -> list[str]:
        """The calls after the samples."""
        return [name for name, _ in self.calls][1:]

    def samples(self) -> tuple[TaskSample, ...]:
        self._note("samples")
        return self._samples

    def claimed(self) -> Claim:
        self._note("claimed")
        return self.claim

    def renew(self) -> Renewal:
        self._note("renew")
        return Renewal(lease_s=30, cancel=self.cancel)

    def progress(self, events: list[ProgressItem]) -> None:
        self._note("progress", list(events))

    def slots(self, step: int, names: list[str]) -> dict[str, ObjectSlot]:
        folder = self._store / str(step)
        return {name: ObjectSlot(put=(folder / name).as_uri(), key=f"{step}/{name}") for name in names}

    def checkpoint(self, step: int, objects: dict[str, str]) -> None:
        self._note("checkpoint", (step, objects))

    def finish(self, result: dict[str, Any], objects: dict[str, str]) -> None:
        self._note("finish", (result, objects))

    def fail(self, reason: str, detail: str, retry: bool) -> None:
        self._note("fail", reason)

    def release(self) -> None:
        self._note("release")


class PlayedChild:
    """Says what it was told to say, then ends or waits."""

    def __init__(self, reports: list[Report], code: int | None = None) -> None:
        self.reports = reports
        self.code = code
        self.closed = False
        self.last_words = "its last words"
        self.asked: list[str] = []
        self.begun: Callable[[], None] = lambda: None
        """What happens once it has its task."""

    def begin(self, directory: Path) -> None:
        assert "secret" not in (directory / "spec.json").read_text()
        self.asked.append("task")
        self.begun()

    def ask_to_stop(self) -> None:
        self.asked.append("stop")
        self.reports.append(Report(event="stopped"))

    def next_report(self, timeout_s: float) -> Report | None:
        return self.reports.pop(0) if self.reports else None

    def ended(self) -> int | None:
        return self.code

    def close(self) -> None:
        self.closed = True


class PlayedChildren:
    """Gives the one child."""

    def __init__(self, child: PlayedChild) -> None:
        self.child = child
        self.kept = False

    def get(self, threads: int) -> PlayedChild:
        return self.child

    def keep(self, child: PlayedChild) -> None:
        self.kept = True


class Stage:
    """A task run between the two."""

    def __init__(
        self, lab: Any, reports: list[Report], code: int | None = None, settings: Any = None, **claim: Any
    ) -> None:
        self.settings = settings or {}
        self.claim: Claim = lab.claim(TaskKind.FOLD, fold=0, **claim)
        self.ingest = PlayedIngest(lab.samples, lab.home / "store", self.claim)
        self.child = PlayedChild(reports, code)
        self.children = PlayedChildren(self.child)
        self.stopping = threading.Event()
        self.home: Path = lab.home

    def play(self) -> Ending:
        children: Any = self.children
        task: Any = self.ingest
        settings = Settings(home=self.home, **self.settings)
        return TaskRun(settings, children, task, self.claim).run(self.stopping)


def epoch(number: int) -> Report:
    """What the child says after an epoch."""
    return Report(
        event="progress",
        kind=ProgressKind.EPOCH,
        data={"epoch": number, "seconds": 1.0, "images_per_s": 2.0},
    )


def checkpoint(home: Path, step: int) -> Report:
    """What the child says of a checkpoint that it has written."""
    file = home / f"step-{step}" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    return Report(event="checkpoint", step=step, files={file.name: file})
