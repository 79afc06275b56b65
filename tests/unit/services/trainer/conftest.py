"""Drawn images, a claim about them, and a task run in this process."""

import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from aimic.domain.base import sha256_of
from aimic.domain.job import TaskKind, TrainSettings
from aimic.domain.split import Split, SplitRequest
from aimic.domain.work import CheckpointRef, Claim, TaskInput, TaskSample, TaskSpec, WeightsSource
from services.trainer.context import Context, Outcome
from services.trainer.reports import Report, Reporter
from services.trainer.spec import ChildSpec
from services.trainer.tasks import run_task
from tests.unit.services.trainer.played import Stage

CLASSES = ("round", "striped")


def drawn(label: int, number: int, side: int = 40) -> bytes:
    """A PNG whose class can be learned: a bright disc or bright stripes, with noise of its own."""
    rng = np.random.default_rng([label, number])
    y, x = np.mgrid[:side, :side] / side - 0.5
    shape = (np.hypot(x, y) < 0.3) if label == 0 else (np.sin(40 * (x + rng.uniform())) > 0.3)
    picture = 90 + 110 * shape[..., None] + rng.normal(0, 12, (side, side, 3))
    out = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()


def even_split(labels: Sequence[int], k: int) -> Split:
    """Samples dealt to folds in turn, class by class; every fourth training sample is inner."""
    seen = [0, 0]
    folds = []
    for label in labels:
        folds.append(seen[label] % k)
        seen[label] += 1
    inner = tuple(tuple(i for i, f in enumerate(folds) if f != fold)[::4] for fold in range(k))
    request = SplitRequest(kind="kfold", k=max(2, k))
    return Split(request=request, seed=0, k=k, folds=tuple(folds), inner=inner, classes=(0, 1))


class Lab:
    """Runs tasks of one made-up job on drawn images, in this process, without ingest."""

    def __init__(self, home: Path, images: int = 24, k: int = 2, **settings: Any) -> None:
        self.home = home
        self.count = 0
        self.reports: list[Report] = []
        defaults: dict[str, Any] = {
            "networks": ("shufflenet_v2_x1_0",),
            "epochs": 2,
            "optimizer": "adamw",
            "lr": 2e-3,
            "schedule": "onecycle",
            "weight_decay": 0.01,
            "label_smoothing": 0.05,
            "batch_size": 5,
            "image_size": 32,
            "augment": "flips_turns",
            "threads": 1,
            "device": "cpu",
        }
        self.settings = TrainSettings.model_validate(defaults | settings)
        self.samples = tuple(self._sample(index, index % 2) for index in range(images))
        self.split = even_split([sample.label for sample in self.samples], k)
        self.weights = WeightsSource(kind="none")
        self.weights_dir: Path | None = None
        self.serve = "refit"

    def _sample(self, index: int, label: int) -> TaskSample:
        data = drawn(label, index)
        name = hashlib.sha256(data).hexdigest()
        path = self.home / "objects" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return TaskSample(index=index, sha256=name, label=label, url=path.as_uri())

    def claim(self, kind: TaskKind, **more: Any) -> Claim:
        """A claim for a task of this job."""
        network = self.settings.networks[0]
        fold = more.pop("fold", None)
        key = f"{network}/{kind.value}" + ("" if fold is None else f"/{fold}")
        facts: dict[str, Any] = {
            "task": TaskSpec(id="task", key=key, kind=kind, network=network, fold=fold),
            "site": "local",
            "job_id": "job",
            "token": "secret",
            "fence": 1,
            "lease_s": 30,
            "settings": self.settings,
            "serve": self.serve,
            "split": self.split,
            "manifest_hash": sha256_of([sample.sha256 for sample in self.samples]),
            "classes": CLASSES,
            "clusters": tuple(range(len(self.samples))),
            "phashes": ("0" * 16,) * len(self.samples),
            "inputs": {},
            "checkpoint": None,
            "weights": self.weights,
        }
        return Claim(**(facts | more))

    def context(self, claim: Claim, checkpoint_s: float = 1e9) -> Context:
        """A context with a directory of its own; its reports go to `self.reports`."""
        self.count += 1
        directory = self.home / f"child-{self.count}"
        directory.mkdir()
        spec = ChildSpec(
            claim=claim,
            samples=self.samples,
            cache=self.home / "cache",
            weights_dir=self.weights_dir,
            checkpoint_s=checkpoint_s,
        )
        return Context(spec, directory, Reporter(_Sink(self.reports)), threading.Event())

    def run(self, kind: TaskKind, **more: Any) -> Outcome:
        """Do a task from beginning to end."""
        return run_task(self.context(self.claim(kind, **more)))

    def last_checkpoint(self) -> CheckpointRef:
        """The newest checkpoint that was reported, by the addresses that ingest would give."""
        report = [report for report in self.reports if report.event == "checkpoint"][-1]
        objects = {name: path.as_uri() for name, path in report.files.items()}
        return CheckpointRef(step=report.step, objects=objects)


class _Sink(io.StringIO):
    """Reads reports back as they are written, as the worker does."""

    def __init__(self, reports: list[Report]) -> None:
        super().__init__()
        self._reports = reports

    def write(self, text: str) -> int:
        self._reports.append(Report.model_validate_json(text))
        return len(text)


def as_input(outcome: Outcome) -> TaskInput:
    """An outcome as the tasks after it get it."""
    return TaskInput(result=outcome.result, objects={name: path.as_uri() for name, path in outcome.files.items()})


@pytest.fixture
def make_lab(tmp_path: Path) -> Callable[..., Lab]:
    """Make a Lab in a home of its own."""
    made = iter(range(100))

    def make(**settings: Any) -> Lab:
        return Lab(tmp_path / f"home-{next(made)}", **settings)

    return make


@pytest.fixture(autouse=True)
def torch_as_found() -> Iterator[None]:
    """One thread; put torch's global switches back afterwards."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture
def to_input() -> Callable[[Outcome], TaskInput]:
    """Turn an outcome into the input of the tasks after it."""
    return as_input


@pytest.fixture
def stage(make_lab: Callable[..., Lab]) -> Callable[..., Stage]:
    """Set a stage."""
    return lambda *reports, **more: Stage(make_lab(images=4), list(reports), **more)
