"""What is shown of jobs."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from aimic.domain.job import Job, Progress, ProgressKind, Status, TaskKind, TaskView, TrainSettings
from services.dashboard.views import jobs as view

MakeTask = Callable[..., TaskView]
MakeJob = Callable[..., Job]


def _batch(phase: str, epoch: int, batch: int) -> dict[str, Any]:
    return {"phase": phase, "epoch": epoch, "epochs": 10, "batch": batch, "batches": 20, "images_per_s": 43.2}


def _epoch(sequence: int, task: str, epoch: int, **more: Any) -> Progress:
    data = {
        "epoch": epoch,
        "epochs": 10,
        "train_loss": 1.0 / epoch,
        "train_accuracy": 0.5,
        "loss": 2.0 / epoch,
        "accuracy": 0.4,
        "macro_precision": None,
        "macro_recall": None,
        "macro_f1": None,
        "lr": 0.1,
        "images_per_s": 9,
        "seconds": 1,
        **more,
    }
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Progress(job_id="j1", task_id=task, sequence=sequence, kind=ProgressKind.EPOCH, data=data, at=at)


@pytest.mark.parametrize(
    ("progress", "share"),
    [
        (_batch("train", 1, 0), 0.0),
        (_batch("train", 6, 10), (5 + 0.45) / 10),
        (_batch("validate", 6, 20), 0.6),
        (_batch("validate", 10, 20), 0.99),
        ({"phase": "features", "batch": 10, "batches": 20}, 0.4),
        ({"phase": "heads", "batch": 20, "batches": 20}, 0.99),
        (None, 0.0),
    ],
)
def test_the_share_of_a_task(make_task: MakeTask, progress: dict[str, Any] | None, share: float) -> None:
    task = make_task(status=Status.RUNNING, progress=progress)
    assert view.task_share(task) == pytest.approx(share)


def test_a_job_never_shows_everything_before_it_is_done(make_task: MakeTask, make_job: MakeJob) -> None:
    tasks = tuple(make_task(fold, status=Status.DONE) for fold in range(5))
    running = make_job(tasks)
    assert view.job_share(running) == 0.99
    assert view.job_share(running.model_copy(update={"status": Status.DONE})) == 1.0
    assert view.job_share(make_job(())) == 0.0


def test_fits_are_nearly_all_of_the_work(make_task: MakeTask, make_job: MakeJob) -> None:
    tasks = (make_task(0, status=Status.DONE), make_task(1), make_task(None, TaskKind.JUDGE))
    assert view.job_share(make_job(tasks)) == pytest.approx(1 / 2.04)


def test_the_line_of_a_job(make_task: MakeTask, make_job: MakeJob) -> None:
    job = make_job((make_task(0, status=Status.DONE), make_task(1)), eta_s=700)
    assert view.job_line(job) == "Running · 50 % · about 12 minutes left"
    assert view.job_line(job.model_copy(update={"status": Status.CANCELLED})) == "Cancelled · 50 %"


def test_tasks_in_plain_words(make_task: MakeTask, make_job: MakeJob) -> None:
    job = make_job(
        (
            make_task(0, status=Status.DONE),
            make_task(1, status=Status.RUNNING, progress=_batch("train", 2, 4), attempt=2),
            make_task(2, status=Status.FAILED, error="Out of memory."),
            make_task(None, TaskKind.REFIT),
        )
    )
    lines = view.task_lines(job)
    assert [line.title for line in lines] == ["Round 1", "Round 2", "Round 3", "Final model"]
    assert lines[1].text == "learning, epoch 2 of 10, 43 images a second (try 2)"
    assert (lines[2].text, lines[2].failed) == ("Out of memory.", True)
    assert [line.begun for line in lines] == [True, True, True, False]


def test_curves_have_a_row_for_each_part_and_the_last_telling_counts(make_task: MakeTask, make_job: MakeJob) -> None:
    job = make_job((make_task(0),))
    events = [
        _epoch(1, "fold-0", 1),
        _epoch(2, "fold-0", 2, loss=9.0),
        _epoch(3, "fold-0", 2, loss=0.7, accuracy=None),
        _epoch(4, "of another job", 1),
    ]
    curves = view.curves(job, events)
    assert [(r["series"], r["part"], r["epoch"], r["value"]) for r in curves.loss] == [
        ("Round 1", "learning", 1, 1.0),
        ("Round 1", "checking", 1, 2.0),
        ("Round 1", "learning", 2, 0.5),
        ("Round 1", "checking", 2, 0.7),
    ]
    assert [r["epoch"] for r in curves.accuracy if r["part"] == "checking"] == [1]


def test_the_published_protocol_is_said_of_its_curves(make_job: MakeJob) -> None:
    paper = TrainSettings(networks=("mobilenet_v2",), protocol="paper")
    text = view.curve_words(make_job(settings=paper))
    assert "held-out images, which also choose the epoch (published protocol)" in text
    assert view.title(make_job(settings=paper)) == "MobileNet-v2 on blood (published protocol)"
    assert "only checks itself" in view.curve_words(make_job())
    assert view.title(make_job()) == "MobileNet-v2 on blood"


def test_curves_come_in_the_order_of_the_plan(make_task: MakeTask, make_job: MakeJob) -> None:
    job = make_job((make_task(0), make_task(None, TaskKind.REFIT)))
    curves = view.curves(job, [_epoch(1, "refit-None", 1), _epoch(2, "fold-0", 1)])
    assert list(dict.fromkeys(row["series"] for row in curves.loss)) == ["Round 1", "Final model"]


def test_why_there_is_no_curve(make_job: MakeJob) -> None:
    assert "first epoch" in view.no_curves_yet(make_job())
    quick = TrainSettings(networks=("mobilenet_v2",), mode="frozen", weights="imagenet")
    assert "in one go" in view.no_curves_yet(make_job(settings=quick))


def test_a_failure_says_why_and_what_was_kept(make_task: MakeTask, make_job: MakeJob) -> None:
    tasks = (make_task(0, status=Status.DONE), make_task(1, status=Status.FAILED, error="Out of memory."))
    text = view.failure(make_job(tasks, status=Status.FAILED, error="mobilenet_v2/fold/1 could not be done"))
    assert text.startswith("Round 2: Out of memory. 1 of 2 steps were finished.")
    assert view.failure(make_job((), status=Status.FAILED)).startswith("The reason was not recorded.")


def test_warnings_are_told_once() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    events = [
        Progress(job_id="j", task_id=None, sequence=n, kind=ProgressKind.WARNING, data={"message": m}, at=at)
        for n, m in enumerate(["slow", "slow", "small"])
    ]
    assert view.warnings(events) == ["slow", "small"]


def test_every_status_has_a_word_and_a_sign() -> None:
    assert set(view.STATUS_WORDS) == set(view.STATUS_ICONS) == set(Status)
