"""A run that was killed anywhere goes on to the same bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aimic.domain.job import ProgressKind, TaskKind
from services.trainer import folds, loop
from services.trainer.checkpoint import JOURNAL
from services.trainer.context import Outcome, StoppedError
from services.trainer.loop import Fit
from services.trainer.step import DivergedError

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


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_stopped_at_any_batch_resumes_bit_for_bit(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    lab = make_lab(optimizer=optimizer, networks=("mobilenet_v2",), images=24, batch_size=4)
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

        def spy(net: Any, device: str, pixels: Any, indices: Any, original: Any = original) -> Any:
            asked.append(tuple(indices))
            return original(net, device, pixels, indices)

        monkeypatch.setattr(module, "logits_of", spy)
    lab.run(TaskKind.FOLD, fold=1)
    assert asked == [lab.split.inner[1]] * 3 + [lab.split.reported(1)]


def test_a_loss_that_is_no_number_ends_the_run_in_plain_words(make_lab: MakeLab) -> None:
    lab = make_lab(lr=10, optimizer="sgd", weight_decay=1, schedule="constant", epochs=200)
    with pytest.raises(DivergedError, match="smaller learning rate"):
        lab.run(TaskKind.FOLD, fold=0)
