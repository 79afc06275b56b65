"""The worker's side of a task, with a child and an ingest that are played."""

from pathlib import Path
from typing import Any

import pytest

from aimic.errors import InvalidInputError, StaleFenceError, UnavailableError
from services.trainer import run
from services.trainer.reports import Report
from services.trainer.run import Ending
from tests.unit.services.trainer.played import checkpoint, epoch


def test_a_result_is_uploaded_told_and_the_child_kept(stage: Any, tmp_path: Path) -> None:
    (tmp_path / "oof").write_bytes(b"logits")
    scene = stage(epoch(1), Report(event="result", data={"a": 1}, files={"oof": tmp_path / "oof"}))
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
    scene.child.reports += [epoch(1), checkpoint(scene.home, 7), Report(event="result")]
    assert scene.play() is Ending.DONE
    assert scene.ingest.names() == ["progress", "checkpoint", "finish"]
    assert scene.ingest.calls[2][1] == (7, {"model.safetensors": "7/model.safetensors"})
    assert not (scene.home / "step-7").exists()


def test_a_stale_fence_drops_everything(stage: Any) -> None:
    scene = stage(epoch(1))
    scene.ingest.raises["progress"] = [StaleFenceError("given away")]
    assert scene.play() is Ending.STALE
    assert scene.ingest.names() == ["progress"]
    assert scene.child.closed


def test_an_ingest_that_is_away_loses_neither_progress_nor_result(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "TELL_AGAIN_S", 0.01)
    scene = stage(epoch(1), Report(event="result", data={"a": 1}))
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
    scene.child.reports.append(checkpoint(scene.home, 3))
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
