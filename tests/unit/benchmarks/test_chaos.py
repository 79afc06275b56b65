"""A run of benchmarks.chaos that could not have shown a loss is refused, and the record of the run before stays."""

import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aimic.domain.metrics import report
from benchmarks import chaos
from benchmarks.chaos import ShowsNothingError, demand_learning, demand_losses


def _metrics(right: int, labels: tuple[int, ...] = (0, 1, 2, 3) * 12) -> dict[str, Any]:
    """Of a job whose first `right` answers are right, by single images."""
    answers = [label if n < right else (label + 1) % 4 for n, label in enumerate(labels)]
    folds, units = [0] * len(labels), list(range(len(labels)))
    return report(labels, np.eye(4)[answers], folds, "abcd", protocol="honest", units=units, patients="unknown")


def test_one_network_of_two_that_learned_nothing_is_refused_with_both_numbers() -> None:
    demand_learning([_metrics(right=40)])
    with pytest.raises(ShowsNothingError, match=r"accuracy of 0\.2708 .* chance, which is 0\.2500 "):
        demand_learning([_metrics(right=40), _metrics(right=13)])


def test_chance_is_the_share_of_the_commonest_class() -> None:
    with pytest.raises(ShowsNothingError, match=r"accuracy of 0\.7500 .* chance, which is 0\.7500 "):
        demand_learning([_metrics(right=36, labels=(0,) * 36 + (1, 2, 3) * 4)])


def test_kills_of_idle_trainers_are_refused() -> None:
    demand_losses(kills=5, met=1)
    with pytest.raises(ShowsNothingError, match=r"held a task .*5 kills"):
        demand_losses(kills=5, met=0)


@pytest.mark.parametrize(("nothing", "status"), [(True, 1), (False, 0)])
def test_what_is_refused_leaves_the_record_alone(
    nothing: bool, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "chaos.txt"
    record.write_text("before")

    def disturb(*_: object) -> bool:
        demand_losses(kills=3, met=not nothing)
        return True

    nowhere = SimpleNamespace(on=lambda _: nullcontext())  # servers and processes have nothing to do with it
    parts = {"RECORD": record, "Servers": nowhere, "Stack": lambda *_, **__: nullcontext(), "disturb": disturb}
    for name, value in parts.items():
        monkeypatch.setattr(chaos, name, value)
    monkeypatch.setattr(sys, "argv", ["chaos", "--minutes", "1"])
    assert chaos.main() == status
    assert (record.read_text() == "before") == nothing
    assert ("REFUSED: No trainer held a task" in capsys.readouterr().out) == nothing
