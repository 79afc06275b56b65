"""A run that was killed anywhere goes on to the same bits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aimic.domain.job import ProgressKind, TaskKind
from services.trainer import folds, loop
from services.trainer.checkpoint import JOURNAL
from services.trainer.context import Outcome, StoppedError
from services.trainer.failures import describe
from services.trainer.loop import Fit, Plan
from services.trainer.step import DivergedError, LonelyError

MakeLab = Callable[..., Any]


def _result(outcome: Outcome) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Bytes of every file, and of the facts those that no clock is in."""
    files = {name: Path(path).read_bytes() for name, path in outcome.files.items()}
    log = [{k: v for k, v in row.items() if k not in {"seconds", "images_per_s"}} for row in outcome.result["log"]]
    return files, {**outcome.result, "log": log}


def _killed_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """The process is asked to stop once that many steps are done."""
    original = Fit._batch
    done = 0

    def batch(self: Fit, epoch: int, number: int, indices: Any) -> None:
        nonlocal done
        original(self, epoch, number, indices)
        done += 1
        if done == steps:
            self._context.stop.set()

    monkeypatch.setattr(Fit, "_batch", batch)


# MobileNet-v2 draws dropout masks before its head.
@pytest.mark.parametrize(
    ("network", "optimizer"), [("mobilenet_v2", "adamw"), ("mobilenet_v2", "sgd"), ("shufflenet_v2_x1_0", "adam")]
)
def test_a_run_stopped_at_any_batch_resumes_bit_for_bit(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, network: str, optimizer: str
) -> None:
    lab = make_lab(optimizer=optimizer, networks=(network,), images=24, batch_size=4)
    lab.serve = "fold:0"
    whole = lab.run(TaskKind.FOLD, fold=0)
    total = 2 * 2  # two epochs of nine training samples in batches of four and five
    expected = _result(whole)
    for stop_at in range(1, total + 1):
        with monkeypatch.context() as patch:
            _killed_after(patch, stop_at)
            with pytest.raises(StoppedError):
                lab.run(TaskKind.FOLD, fold=0)
        resumed = lab.run(TaskKind.FOLD, fold=0, checkpoint=lab.last_checkpoint())
        assert _result(resumed) == expected


def test_a_resume_elsewhere_is_marked_and_told(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = make_lab()
    whole = lab.run(TaskKind.FOLD, fold=0)
    with monkeypatch.context() as patch:
        _killed_after(patch, 2)
        with pytest.raises(StoppedError):
            lab.run(TaskKind.FOLD, fold=0)
    reference = lab.last_checkpoint()
    journal = Path(urlsplit(reference.objects[JOURNAL]).path)
    journal.write_text(journal.read_text().replace('"threads":1', '"threads":64'))
    resumed = lab.run(TaskKind.FOLD, fold=0, checkpoint=reference)
    assert resumed.result["resumed_elsewhere"]
    assert not whole.result["resumed_elsewhere"]
    assert any(report.kind is ProgressKind.WARNING for report in lab.reports)


def test_patience_ends_a_run_that_gets_no_better(make_lab: MakeLab) -> None:
    lab = make_lab(epochs=40, patience=2, lr=1e-7, schedule="constant")
    outcome = lab.run(TaskKind.FOLD, fold=0)
    log = outcome.result["log"]
    best = outcome.result["best_epoch"]
    assert outcome.result["epochs"] == min(40, best + 2)
    assert best == 1 + min(range(len(log)), key=lambda row: log[row]["loss"])


def test_the_reported_fold_is_read_once_after_the_epoch_is_chosen(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(epochs=3)
    asked: list[tuple[int, ...]] = []
    for module in (loop, folds):
        original = module.logits_of

        def spy(net: Any, device: str, pixels: Any, indices: Any, alive: Any, original: Any = original) -> Any:
            asked.append(tuple(indices))
            return original(net, device, pixels, indices, alive)

        monkeypatch.setattr(module, "logits_of", spy)
    lab.run(TaskKind.FOLD, fold=1)
    assert asked == [lab.split.inner[1]] * 3 + [lab.split.reported(1)]


@pytest.mark.parametrize("alone", ["batch", "part"])
def test_batch_norm_with_a_single_image_fails_in_plain_words(make_lab: MakeLab, alone: str) -> None:
    lab = make_lab(batch_size=1 if alone == "batch" else 5)
    if alone == "part":
        context = lab.context(lab.claim(TaskKind.REFIT))
        with pytest.raises(LonelyError, match="batch size of at least 2") as caught:
            folds._fit(context, Plan((3,), (), 1, None, None))
    else:
        with pytest.raises(LonelyError, match="split that leaves at least 2 images") as caught:
            lab.run(TaskKind.FOLD, fold=0)
    told = describe(caught.value)
    assert "ShuffleNet" in told.reason
    assert not told.retry


def test_single_images_that_are_large_enough_can_be_learned_from(make_lab: MakeLab) -> None:
    lab = make_lab(image_size=64, batch_size=1, epochs=1, images=8)
    assert lab.run(TaskKind.FOLD, fold=0).result["epochs"] == 1


@pytest.mark.parametrize(("protocol", "part"), [("honest", "inner"), ("paper", "held_out")])
def test_an_epoch_says_what_it_was_judged_on(make_lab: MakeLab, protocol: str, part: str) -> None:
    lab = make_lab(epochs=1, protocol=protocol)
    lab.run(TaskKind.FOLD, fold=0)
    assert [report.data["part"] for report in lab.reports if report.kind is ProgressKind.EPOCH] == [part]


def test_an_epoch_that_was_judged_on_nothing_says_so(make_lab: MakeLab) -> None:
    lab = make_lab(epochs=1)
    lab.split = lab.split.model_copy(update={"inner": ((), ())})
    lab.run(TaskKind.FOLD, fold=0)
    assert [report.data["part"] for report in lab.reports if report.kind is ProgressKind.EPOCH] == [None]


@pytest.mark.parametrize(
    ("pause", "share", "longest", "checkpoints"),
    [(1e-6, 0, 300, 3), (1e9, 0, 300, 0), (1e-6, 1e9, 300, 1), (1e-6, 1e9, 0, 3)],
    ids=["wished often", "wished never", "writing is slow", "but not too much is at stake"],
)
def test_how_often_an_epoch_leaves_a_checkpoint(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, pause: float, share: float, longest: float, checkpoints: int
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", share)
    monkeypatch.setattr(loop, "LONGEST_PAUSE_S", longest)
    lab = make_lab(epochs=3)
    context = lab.context(lab.claim(TaskKind.FOLD, fold=0))
    spec = context.spec.model_copy(update={"epoch_checkpoint_s": pause})
    folds.run_fold(replace(context, spec=spec))
    assert sum(report.event == "checkpoint" for report in lab.reports) == checkpoints


def test_a_loss_that_is_no_number_ends_the_run_in_plain_words(make_lab: MakeLab) -> None:
    lab = make_lab(lr=10, optimizer="sgd", weight_decay=1, schedule="constant", epochs=200)
    with pytest.raises(DivergedError, match="smaller learning rate"):
        lab.run(TaskKind.FOLD, fold=0)
