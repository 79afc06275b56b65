"""Things that views show."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from aimic.domain.dataset import DatasetVersion, Finding, Level
from aimic.domain.job import Job, Status, TaskKind, TaskView, TrainSettings
from aimic.domain.model import ModelVersion, Stage
from aimic.domain.split import SplitSummary

AT = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)


@pytest.fixture
def version() -> DatasetVersion:
    return DatasetVersion(
        dataset="blood",
        version=2,
        manifest_hash="a" * 64,
        classes=("basophil", "neutrophil"),
        counts=(3, 1204),
        groups=None,
        refused=1,
        findings=(
            Finding(code="sizes", level=Level.INFO, message="Two sizes."),
            Finding(code="imbalance", message="Far more neutrophils."),
        ),
        created_at=AT,
    )


@pytest.fixture
def make_task() -> Callable[..., TaskView]:
    def make(fold: int | None = 0, kind: TaskKind = TaskKind.FOLD, **more: Any) -> TaskView:
        fields: dict[str, Any] = {
            "id": f"{kind}-{fold}",
            "key": f"mobilenet_v2/{kind}/{fold}",
            "kind": kind,
            "network": "mobilenet_v2",
            "fold": fold,
            "status": Status.WAITING,
            "attempt": 1,
        }
        return TaskView(**fields | more)

    return make


@pytest.fixture
def make_job(make_task: Callable[..., TaskView]) -> Callable[..., Job]:
    def make(tasks: tuple[TaskView, ...] = (), **more: Any) -> Job:
        fields: dict[str, Any] = {
            "id": "j1",
            "dataset": "blood",
            "version": 2,
            "manifest_hash": "a" * 64,
            "settings": TrainSettings(networks=("mobilenet_v2",)),
            "serve": "refit",
            "status": Status.RUNNING,
            "split": SplitSummary(
                kind="kfold", k=2, seed=0, groups=False, classes=("a", "b"), set_aside=(), locked=0, counts=()
            ),
            "findings": (),
            "tasks": tasks,
            "created_at": AT,
        }
        return Job(**fields | more)

    return make


@pytest.fixture
def model() -> ModelVersion:
    pooled = {
        "n": 10,
        "accuracy": 0.8,
        "balanced_accuracy": 0.75,
        "macro_f1": 0.76,
        "loss": 0.5,
        "confusion": [[2, 2], [0, 6]],
        "per_class": [
            {"label": "basophil", "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4},
            {"label": "neutrophil", "precision": 0.75, "recall": 1.0, "f1": 6 / 7, "support": 6},
        ],
        "interval": {"accuracy": [0.49, 0.943]},
    }
    return ModelVersion(
        name="blood-mobilenet_v2",
        version=1,
        bundle_hash="b" * 64,
        network="mobilenet_v2",
        classes=("basophil", "neutrophil"),
        stage=Stage.SERVING,
        metrics={
            "protocol": "honest",
            "pooled": pooled,
            "mean": {"accuracy": {"mean": 0.8, "sd": 0.05}},
            "statement": "For new images of the same patients.",
        },
        job_id="j1",
        dataset="blood",
        manifest_hash="a" * 64,
        size=9,
        created_at=AT,
    )
