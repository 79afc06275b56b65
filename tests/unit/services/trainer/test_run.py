"""The worker's side of a task, with a child and an ingest that are played here."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.domain.job import ProgressKind, TaskKind
from aimic.domain.work import Claim, ObjectSlot, ProgressItem, Renewal, TaskSample
from aimic.errors import InvalidInputError, StaleFenceError, UnavailableError
from services.trainer import line, run, uploads
from services.trainer.reports import Report
from services.trainer.run import Ending, TaskRun
from services.trainer.settings import Settings

MakeLab = Callable[..., Any]


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
    assert scene.ingest.calls[2][1] == (7, {"model.safetensors": "7/model.safetensors"})
    assert not (scene.home / "step-7").exists()


def test_a_stale_fence_drops_everything(stage: Any) -> None:
    scene = stage(_epoch(1))
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
    scene.child.begun = scene.stopping.set
    assert scene.play() is Ending.RELEASED
    assert scene.child.asked == ["task", "stop"]
    assert scene.ingest.names() == ["checkpoint", "release"]


def test_a_child_that_died_is_reported(stage: Any) -> None:
    scene = stage(code=-9)
    assert scene.play() is Ending.FAILED
    (name, reason) = scene.ingest.calls[-1]
    assert scene.ingest.names() == [name] == ["fail"]
    assert "memory" in reason


def test_a_failure_is_passed_on_in_the_childs_words(stage: Any) -> None:
    scene = stage(Report(event="failed", reason="There are no weights.", retry=False))
    assert scene.play() is Ending.FAILED
    assert scene.ingest.calls[1:] == [("fail", "There are no weights.")]
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
    assert [name for name, _ in scene.ingest.calls] == ["fail"]


def test_a_worker_that_is_asked_to_stop_before_it_began_hands_back_at_once(stage: Any) -> None:
    scene = stage()
    scene.stopping.set()
    assert scene.play() is Ending.RELEASED
    assert scene.child.asked == []
    assert [name for name, _ in scene.ingest.calls][-1] == "release"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("away", ["checkpoint", "progress", "finish", "release"])
def test_whatever_is_away_the_worker_ends_within_its_grace(stage: Any, away: str) -> None:
    scene = stage(_epoch(1), settings={"trainer_grace_s": 0.6})
    scene.ingest.raises[away] = [UnavailableError("away")] * 1000
    scene.child.reports.append(_checkpoint(scene.home, 3))
    if away == "finish":
        scene.child.reports.append(Report(event="result"))
    scene.child.begun = scene.stopping.set
    began = time.monotonic()
    assert scene.play() is Ending.RELEASED
    assert time.monotonic() - began < 5
    assert scene.ingest.names()[-1] == "release"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("hangs", ["renew", "progress", "checkpoint", "finish"])
def test_a_call_that_hangs_holds_up_neither_the_end_nor_the_process(stage: Any, hangs: str) -> None:
    scene = stage(_epoch(1), lease_s=0.1, settings={"trainer_grace_s": 0.6})
    ever = threading.Event()
    setattr(scene.ingest, hangs, lambda *_: ever.wait(60))
    scene.child.reports.append(_checkpoint(scene.home, 3))
    if hangs == "finish":
        scene.child.reports.append(Report(event="result"))
    scene.child.begun = scene.stopping.set
    began = time.monotonic()
    assert scene.play() is Ending.RELEASED
    assert time.monotonic() - began < 5
    assert "release" in scene.ingest.names()
    ever.set()


def test_a_checkpoint_that_could_not_be_stored_is_tried_again(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "FIRST_PAUSE_S", 0.01)
    scene = stage(settings={"trainer_grace_s": 10})
    scene.ingest.raises["checkpoint"] = [UnavailableError("away")] * 2
    scene.child.reports.append(_checkpoint(scene.home, 3))
    scene.child.begun = scene.stopping.set
    assert scene.play() is Ending.RELEASED
    assert scene.ingest.names() == ["checkpoint", "checkpoint", "checkpoint", "release"]


def test_a_child_whose_addresses_expired_begins_again_with_fresh_ones(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BEGIN_AGAIN_S", 0.01)
    refused = Report(event="failed", reason="The address has expired.", retry=True, store="refused")
    scene = stage(refused, refused, Report(event="result"))
    assert scene.play() is Ending.DONE
    assert scene.child.asked == ["task"] * 3
    assert scene.ingest.names() == ["claimed", "samples", "claimed", "samples", "finish"]


def test_a_store_that_refuses_every_address_is_told(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BEGIN_AGAIN_S", 0.001)
    refused = Report(event="failed", reason="The address has expired.", retry=True, store="refused")
    scene = stage(*[refused] * 20)
    assert scene.play() is Ending.FAILED
    assert scene.ingest.calls[-1] == ("fail", "The address has expired.")


def test_a_store_that_is_away_is_waited_for_and_told_of_once(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BEGIN_AGAIN_S", 0.001)
    monkeypatch.setattr(run, "LONGEST_S", 0.01)
    away = Report(event="failed", reason="The store is away.", retry=True, store="away")
    scene = stage(*[away] * 20, Report(event="result"))
    assert scene.play() is Ending.DONE
    told = [item for name, events in scene.ingest.calls if name == "progress" for item in events]
    assert [item.data["message"] for item in told] == [
        "The store is away. The task waits for it and goes on by itself."
    ]


def test_what_waits_for_an_ingest_that_is_away_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "MOST_WAITING", 3)
    task: Any = None
    waiting = line.Line(task, 30)
    for number in range(10):
        waiting.add(ProgressItem(kind=ProgressKind.EPOCH, data={"epoch": number}))
        waiting.add(ProgressItem(kind=ProgressKind.BATCH, data={"batch": number}))
    kept = [(item.kind, *item.data.values()) for item in waiting._events]
    assert kept == [(ProgressKind.EPOCH, 8), (ProgressKind.EPOCH, 9), (ProgressKind.BATCH, 9)]
    waiting.close()
