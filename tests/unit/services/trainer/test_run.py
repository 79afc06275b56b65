"""The worker's side of a task, with a child and an ingest that are played here."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.domain.job import ProgressKind, TaskKind
from aimic.domain.work import Claim, ObjectSlot, ProgressItem, Renewal, TaskSample
from aimic.errors import InvalidInputError, StaleFenceError, UnavailableError
from services.trainer import run
from services.trainer.reports import Report
from services.trainer.run import Ending, TaskRun
from services.trainer.settings import Settings

MakeLab = Callable[..., Any]


class PlayedIngest:
    """Notes every call; raises what it was told to, once each."""

    def __init__(self, samples: tuple[TaskSample, ...], store: Path) -> None:
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
        return [name for name, _ in self.calls]

    def samples(self) -> tuple[TaskSample, ...]:
        return self._samples

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

    def begin(self, directory: Path) -> None:
        assert "secret" not in (directory / "spec.json").read_text()
        self.asked.append("task")

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

    def __init__(self, lab: Any, reports: list[Report], code: int | None = None, **claim: Any) -> None:
        self.ingest = PlayedIngest(lab.samples, lab.home / "store")
        self.child = PlayedChild(reports, code)
        self.children = PlayedChildren(self.child)
        self.stopping = threading.Event()
        self.home: Path = lab.home
        self.claim: Claim = lab.claim(TaskKind.FOLD, fold=0, **claim)

    def play(self) -> Ending:
        children: Any = self.children
        task: Any = self.ingest
        return TaskRun(Settings(home=self.home), children, task, self.claim).run(self.stopping)


@pytest.fixture
def stage(make_lab: MakeLab) -> Callable[..., Stage]:
    """Set a stage."""
    return lambda *reports, **more: Stage(make_lab(images=4), list(reports), **more)


def _epoch(number: int) -> Report:
    return Report(
        event="progress",
        kind=ProgressKind.EPOCH,
        data={"epoch": number, "seconds": 1.0, "images_per_s": 2.0},
    )


def _checkpoint(home: Path, step: int) -> Report:
    file = home / f"step-{step}" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    return Report(event="checkpoint", step=step, files={file.name: file})


def test_a_result_is_uploaded_told_and_the_child_kept(stage: Any, tmp_path: Path) -> None:
    (tmp_path / "oof").write_bytes(b"logits")
    scene = stage(_epoch(1), Report(event="result", data={"a": 1}, files={"oof": tmp_path / "oof"}))
    assert scene.play() is Ending.DONE
    assert scene.ingest.names()[-2:] == ["progress", "finish"]
    result, objects = scene.ingest.calls[-1][1]
    assert result == {"a": 1}
    assert (scene.home / "store" / objects["oof"]).read_bytes() == b"logits"
    assert scene.children.kept
    assert not scene.child.closed
    assert not list((scene.home / "work").iterdir())


def test_an_epoch_is_told_before_the_checkpoint_that_covers_it(stage: Any) -> None:
    scene = stage()
    scene.child.reports += [_epoch(1), _checkpoint(scene.home, 7), Report(event="result")]
    assert scene.play() is Ending.DONE
    assert scene.ingest.names() == ["progress", "checkpoint", "finish"]
    assert scene.ingest.calls[1][1] == (7, {"model.safetensors": "7/model.safetensors"})
    assert not (scene.home / "step-7").exists()


def test_a_stale_fence_drops_everything(stage: Any) -> None:
    scene = stage(_epoch(1), Report(event="result"))
    scene.ingest.raises["progress"] = [StaleFenceError("given away")]
    assert scene.play() is Ending.STALE
    assert scene.ingest.names() == ["progress"]
    assert scene.child.closed


def test_an_ingest_that_is_away_loses_neither_progress_nor_result(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TELL_AGAIN_S", 0.01)
    scene = stage(_epoch(1), Report(event="result", data={"a": 1}))
    scene.ingest.raises = {
        "progress": [UnavailableError("away")],
        "finish": [UnavailableError("away"), UnavailableError("away")],
    }
    assert scene.play() is Ending.DONE
    assert scene.ingest.names() == ["progress", "progress", "finish", "finish", "finish"]


def test_a_cancelled_task_ends_its_child(stage: Any) -> None:
    scene = stage(lease_s=1e-6)
    scene.ingest.cancel = True
    assert scene.play() is Ending.CANCELLED
    assert scene.child.closed
    assert scene.ingest.names() == ["renew", "release"]


def test_a_worker_that_is_asked_to_stop_hands_back_after_a_last_checkpoint(stage: Any) -> None:
    scene = stage()
    scene.child.reports.append(_checkpoint(scene.home, 3))
    scene.stopping.set()
    assert scene.play() is Ending.RELEASED
    assert scene.child.asked == ["task", "stop"]
    assert scene.ingest.names() == ["checkpoint", "release"]


def test_a_child_that_died_is_reported(stage: Any) -> None:
    scene = stage(code=-9)
    assert scene.play() is Ending.FAILED
    ((name, reason),) = scene.ingest.calls
    assert name == "fail"
    assert "memory" in reason


def test_a_failure_is_passed_on_in_the_childs_words(stage: Any) -> None:
    scene = stage(Report(event="failed", reason="There are no weights.", retry=False))
    assert scene.play() is Ending.FAILED
    assert scene.ingest.calls == [("fail", "There are no weights.")]
    assert scene.child.closed


def test_a_result_that_ingest_refuses_counts_as_an_attempt(stage: Any) -> None:
    scene = stage(Report(event="result"))
    scene.ingest.raises["finish"] = [InvalidInputError("This is no bundle.")]
    assert scene.play() is Ending.FAILED
    assert scene.ingest.calls[-1] == ("fail", "This is no bundle.")


def test_a_machine_that_can_not_begin_says_why(stage: Any) -> None:
    scene = stage()
    (scene.home / "work").write_text("a file where a directory should be")
    assert scene.play() is Ending.FAILED
    assert scene.ingest.names() == ["fail"]
