"""A child says that it lives at every step of what may take hours."""

import fcntl
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import get_model

from aimic.domain.job import ProgressKind, TaskKind
from aimic.domain.work import WeightsSource
from services.trainer import data, reports
from services.trainer.network import build_net
from services.trainer.reports import Report, Reporter

MakeLab = Callable[..., Any]


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out because something was said lately."""
    monkeypatch.setattr(reports, "ALIVE_EVERY_S", 0.0)
    monkeypatch.setattr(reports, "BATCH_EVERY_S", 0.0)


def _phase(report: Report) -> str:
    return report.data.get("phase", "") if report.kind is ProgressKind.BATCH else report.event


def _after(lab: Any, phase: str) -> str:
    """What came after the first report of this phase."""
    phases = [_phase(report) for report in lab.reports]
    return phases[phases.index(phase) + 1]


def test_what_says_enough_says_no_more() -> None:
    out = io.StringIO()
    reporter = Reporter(out)
    reporter.alive()
    assert out.getvalue() == ""


@pytest.mark.usefixtures("talkative")
def test_a_validation_says_that_it_lives(make_lab: MakeLab) -> None:
    lab = make_lab(epochs=1)
    lab.run(TaskKind.FOLD, fold=0)
    assert _after(lab, "validate") == "alive"


@pytest.mark.usefixtures("talkative")
def test_the_fit_of_a_head_says_that_it_lives(make_lab: MakeLab, tmp_path: Path) -> None:
    torch.manual_seed(1)
    torch.save(get_model("shufflenet_v2_x1_0").state_dict(), tmp_path / "shufflenet_v2_x1_0.pth")
    lab = make_lab(mode="frozen", weights="imagenet", images=12)
    lab.weights, lab.weights_dir = WeightsSource(kind="imagenet", name="imagenet"), tmp_path
    lab.run(TaskKind.FROZEN)
    assert _after(lab, "heads") == "alive"


@pytest.mark.usefixtures("talkative")
def test_who_waits_for_another_trainer_s_images_says_that_it_lives(
    make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(images=4)
    context = lab.context(lab.claim(TaskKind.FOLD, fold=0))
    preprocessing = build_net(context).preprocessing
    data.pixels(context, [0], preprocessing)
    (lock,) = (lab.home / "cache").glob("*/*/lock")
    lab.reports.clear()
    with lock.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(time, "sleep", lambda _: other.close())
        data.pixels(context, [1], preprocessing)
    assert _phase(lab.reports[0]) == "alive"
