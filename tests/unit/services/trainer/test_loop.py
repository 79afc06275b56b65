"""A run that was killed anywhere goes on to the same bits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aimic.domain.job import TaskKind
from services.trainer.context import Outcome, StoppedError
from services.trainer.loop import Fit

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
