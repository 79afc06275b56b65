"""Training jobs: what a person asks for, and the tasks that come of it."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from aimic.domain.base import Command, Value
from aimic.domain.dataset import Finding
from aimic.domain.networks import NETWORKS
from aimic.domain.split import SplitRequest, SplitSummary

_MODE = re.compile(r"full|frozen|last:[1-9]\d?")


class TrainSettings(Command):
    """Everything that decides a training run; stored in the job and in the bundle.

    A None is a default that depends on mode and network; ingest fills every one before it stores the job
    (`services/ingest/jobs/defaults.py`), so that a stored job says all.
    """

    networks: tuple[str, ...] = Field(min_length=1, max_length=10)
    weights: str = Field("none", max_length=300)
    """`none`, `imagenet`, `file:<sha256 of an uploaded weights file>`, or `model:<name>[:<version>]`."""
    mode: str = "full"
    """`full` (all layers), `frozen` (head only, batch-norm statistics included), `last:N` (last N blocks)."""
    split: SplitRequest = SplitRequest()
    protocol: Literal["honest", "paper"] = "honest"
    """`paper`: best epoch on the held-out fold itself, as published; its numbers are labelled so."""
    serve: str = Field("auto", pattern=r"^(auto|refit|fold:\d+)$")
    """Which weights the bundle holds: a refit on all data (k folds) or one fold named in advance (hold-out)."""
    epochs: int | None = Field(None, ge=1, le=2000)
    patience: int | None = Field(None, ge=1, le=2000)
    """Epochs without a better inner validation loss before stopping; None after filling: no early stop."""
    optimizer: Literal["adamw", "adam", "sgd"] | None = None
    lr: float | None = Field(None, gt=0, le=10)
    schedule: Literal["onecycle", "constant"] | None = None
    weight_decay: float | None = Field(None, ge=0, le=1)
    label_smoothing: float | None = Field(None, ge=0, lt=1)
    batch_size: int | None = Field(None, ge=1, le=1024)
    image_size: int | None = Field(None, ge=32, le=1024)
    """Pixels a side; None: the network's own (224, Inception-v3 299)."""
    augment: Literal["flips_turns", "none"] | None = None
    seed: int = Field(0, ge=0, lt=2**31)
    threads: int | None = Field(None, ge=1, le=256)
    """torch threads; set from the machine at submission, since results depend on it in the last bits."""
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("networks")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in NETWORKS:
                raise ValueError(f"unknown network {name!r}; choose from {', '.join(NETWORKS)}")
        if len(set(names)) != len(names):
            raise ValueError("a network is named twice")
        return names

    @field_validator("mode")
    @classmethod
    def _mode(cls, mode: str) -> str:
        if not _MODE.fullmatch(mode):
            raise ValueError(f"unknown mode {mode!r}; choose full, frozen or last:N")
        return mode

    @model_validator(mode="after")
    def _frozen_needs_weights(self) -> Self:
        if self.mode != "full" and self.weights == "none":
            raise ValueError(
                f"mode {self.mode} keeps layers as they are, so it needs weights to start from: "
                "choose weights imagenet, a file or a model, or mode full"
            )
        return self


class JobRequest(Command):
    """Start a training job."""

    dataset: str
    version: int | None = None
    """Data set version; None: the newest."""
    model: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Name of the model to make; None: `<dataset>-<network>`."""
    settings: TrainSettings


class TaskKind(StrEnum):
    """What a worker can be asked to do."""

    FOLD = "fold"
    FROZEN = "frozen"
    REFIT = "refit"
    JUDGE = "judge"
    PACKAGE = "package"
    EVALUATE = "evaluate"


class Status(StrEnum):
    """The life of a job (ready, running, done, failed, cancelled) or task (also waiting)."""

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self in {Status.DONE, Status.FAILED, Status.CANCELLED}


class TaskPlan(Value):
    """One node of a job's graph; `key` is unique in the job, such as `resnet34/fold/2`."""

    key: str
    kind: TaskKind
    network: str
    fold: int | None = None
    after: tuple[str, ...] = ()


def plan_tasks(settings: TrainSettings, folds: int, serve: str) -> tuple[TaskPlan, ...]:
    """The graph of a training job: folds (or one frozen task) → refit → judge → package, per network.

    `serve` is `refit` or `fold:N`, decided before anything is trained. A frozen task makes its refit itself,
    since it holds all features anyway.
    """
    plans: list[TaskPlan] = []
    for network in settings.networks:
        fits: list[TaskPlan] = []
        if settings.mode == "frozen":
            fits.append(TaskPlan(key=f"{network}/frozen", kind=TaskKind.FROZEN, network=network))
        else:
            fits.extend(
                TaskPlan(key=f"{network}/fold/{fold}", kind=TaskKind.FOLD, network=network, fold=fold)
                for fold in range(folds)
            )
        keys = tuple(plan.key for plan in fits)
        judge = TaskPlan(key=f"{network}/judge", kind=TaskKind.JUDGE, network=network, after=keys)
        before_package = [judge.key]
        plans += [*fits, judge]
        if serve == "refit" and settings.mode != "frozen":
            refit = TaskPlan(key=f"{network}/refit", kind=TaskKind.REFIT, network=network, after=keys)
            plans.append(refit)
            before_package.append(refit.key)
        else:
            served = "frozen" if settings.mode == "frozen" else f"fold/{serve.removeprefix('fold:')}"
            before_package.append(f"{network}/{served}")
        plans.append(
            TaskPlan(key=f"{network}/package", kind=TaskKind.PACKAGE, network=network, after=tuple(before_package))
        )
    return tuple(plans)


class TaskView(Value):
    """A task as a person sees it."""

    id: str
    key: str
    kind: TaskKind
    network: str
    fold: int | None
    status: Status
    attempt: int
    progress: dict[str, Any] | None = None
    """The newest `batch` event's data, if any."""
    error: str | None = None


class Job(Value):
    """A job as a person sees it."""

    id: str
    dataset: str
    version: int
    manifest_hash: str
    settings: TrainSettings
    serve: str
    status: Status
    split: SplitSummary
    findings: tuple[Finding, ...]
    tasks: tuple[TaskView, ...]
    models: tuple[str, ...] = ()
    """`name:version` of each model registered."""
    eta_s: float | None = None
    error: str | None = None
    created_at: datetime
    finished_at: datetime | None = None


class ProgressKind(StrEnum):
    """What a progress event tells."""

    BATCH = "batch"
    """data: phase (cache|features|train|validate|heads|judge|package|executors), epoch, epochs, batch, batches,
    images_per_s. Only the newest of a task is kept."""
    EPOCH = "epoch"
    """data: an EpochLog."""
    STATUS = "status"
    """data: status, message; of a task, or (task_id None) of the job."""
    WARNING = "warning"
    """data: message."""


class EpochLog(Value):
    """The row of one epoch; accuracies in 0…1, loss in nats, `loss` etc. on `part`."""

    epoch: int
    epochs: int
    train_loss: float
    train_accuracy: float
    loss: float | None
    accuracy: float | None
    macro_precision: float | None
    macro_recall: float | None
    macro_f1: float | None
    lr: float
    images_per_s: float
    seconds: float
    best: bool = False
    part: Literal["inner", "held_out"] | None = None
    """What the epoch was judged on: the inner validation part, the reported fold itself (`--protocol paper`), or
    nothing."""


class Progress(Value):
    """One event of a job; `sequence` orders them and is the id of the server-sent event."""

    job_id: str
    task_id: str | None
    sequence: int
    kind: ProgressKind
    data: dict[str, Any]
    at: datetime
