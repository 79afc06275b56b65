"""A trainer as a process beside a real ingest: a whole job, a polite end, a kill, a cancel."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from aimic.client import Client
from aimic.domain.dataset import ImportStatus
from aimic.domain.job import Job, JobRequest, ProgressKind, Status, TaskKind, TrainSettings
from aimic.domain.split import SplitRequest
from services.local.servers.ports import free_ports

CommandOf = Callable[[psutil.Process], list[str]]

END_S = 60.0
"""Seconds in which what was told to end has ended, on however busy a machine; a quiet one needs a few."""


def _until(what: str, condition: Callable[[], Any], seconds: float = 200) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return found


class Site:
    """An ingest process in a home of its own, and trainers beside it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{(port := free_ports(1)[0])}"
        self.environment = {
            **os.environ,
            "AIMIC_HOME": str(home),
            "AIMIC_INGEST_PORT": str(port),
            "AIMIC_INGEST_OPS_PORT": str(free_ports(1)[0]),
            "AIMIC_INGEST_URL": self.url,
            "AIMIC_TRAINER_POLL_S": "0.5",
            # Time for a last checkpoint on a machine that is busy: without one, epochs are told twice.
            "AIMIC_TRAINER_GRACE_S": "45",
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self.start("services.ingest")

    def start(self, module: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a service as a process."""
        with (self.home / "log.jsonl").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module], env=self.environment | more, stderr=log, stdout=log
            )
        self._processes.append(process)
        return process

    def trainer(self) -> subprocess.Popen[bytes]:
        """Start a trainer."""
        return self.start("services.trainer", AIMIC_TRAINER_OPS_PORT=str(free_ports(1)[0]))

    def close(self) -> None:
        """End what is left."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A running ingest."""
    made = Site(tmp_path)
    try:
        _until("ingest answers", lambda: _answers(made.url))
        yield made
    finally:
        made.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v1/datasets").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """A client of the running ingest."""
    with Client(site.url) as made:
        yield made


def _import_drawn(client: Client, folder: Path, images: int = 24, side: int = 40) -> None:
    """Two classes that can be told apart, with noise in every image."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side - 0.5
    for number in range(images):
        name = ("round", "striped")[number % 2]
        shape = np.hypot(x, y) < 0.3 if number % 2 == 0 else np.sin(40 * (x + rng.uniform())) > 0.3
        picture = 90 + 110 * shape[..., None] + rng.normal(0, 40, (side, side, 3))
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")
    done = client.datasets.import_(folder, "cells")
    assert done.status is ImportStatus.DONE, done.error


def _start_job(client: Client, **more: Any) -> Job:
    settings: dict[str, Any] = {
        "networks": ("shufflenet_v2_x1_0",),
        "split": SplitRequest(kind="holdout", fraction=0.25),
        "epochs": 3,
        "batch_size": 6,
        "image_size": 32,
        "threads": 1,
    }
    request = JobRequest(dataset="cells", settings=TrainSettings.model_validate(settings | more))
    return client.jobs.create(request)


def _children(trainer: subprocess.Popen[bytes], command_of: CommandOf) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(trainer.pid).children(recursive=True)
        if "services.trainer.child" in command_of(child)
    ]


def _epochs(client: Client, job: Job) -> int:
    return sum(event.kind is ProgressKind.EPOCH for event in client.jobs.progress(job.id))


def _over(client: Client, job: Job) -> Job:
    _until("the job is over", lambda: client.jobs.show(job.id).status.over)
    return client.jobs.show(job.id)


def test_a_job_goes_from_import_to_a_registered_model(site: Site, client: Client, tmp_path: Path) -> None:
    _import_drawn(client, tmp_path / "cells")
    job = _start_job(client)
    site.trainer()
    over = _over(client, job)
    assert over.status is Status.DONE, over.error
    name, version = over.models[0].rsplit(":", 1)
    model = client.models.show(name, int(version))
    assert model.metrics["pooled"]["n"] == 6
    assert _epochs(client, job) == 3
    _until("nothing is left", lambda: not list((site.home / "work").iterdir()))


def test_a_trainer_that_is_asked_to_end_hands_its_task_back(site: Site, client: Client, tmp_path: Path) -> None:
    _import_drawn(client, tmp_path / "cells")
    job = _start_job(client, epochs=300)
    trainer = site.trainer()
    _until("an epoch is done", lambda: _epochs(client, job) >= 2)
    trainer.send_signal(signal.SIGTERM)
    assert trainer.wait(END_S) == 0
    task = client.jobs.show(job.id).tasks[0]
    assert (task.status, task.attempt) == (Status.READY, 1)  # still the first
    done = _epochs(client, job)
    site.trainer()
    _until("it goes on", lambda: _epochs(client, job) > done)
    epochs = [e.data["epoch"] for e in client.jobs.progress(job.id) if e.kind is ProgressKind.EPOCH]
    assert epochs == list(range(1, len(epochs) + 1))


def test_a_killed_trainer_takes_its_child_along(
    site: Site, client: Client, tmp_path: Path, command_of: CommandOf
) -> None:
    _import_drawn(client, tmp_path / "cells")
    job = _start_job(client, epochs=300)
    trainer = site.trainer()
    _until("an epoch is done", lambda: _epochs(client, job) >= 1)
    (child,) = _children(trainer, command_of)
    trainer.kill()
    trainer.wait()
    child.wait(END_S)
    site.trainer()
    _until(
        "what was left is removed",
        lambda: not [p for p in (site.home / "work").iterdir() if p.name.endswith("-1")],
    )


def test_a_cancelled_job_stops_its_child(site: Site, client: Client, tmp_path: Path, command_of: CommandOf) -> None:
    _import_drawn(client, tmp_path / "cells")
    job = _start_job(client, epochs=2000)
    trainer = site.trainer()
    _until("an epoch is done", lambda: _epochs(client, job) >= 1)
    assert client.jobs.cancel(job.id).status is Status.CANCELLED
    _until("the child is gone", lambda: not _children(trainer, command_of), END_S)
    assert trainer.poll() is None


def test_a_task_that_can_not_be_done_fails_in_plain_words(site: Site, client: Client, tmp_path: Path) -> None:
    _import_drawn(client, tmp_path / "cells")
    job = _start_job(client, lr=10, optimizer="sgd", weight_decay=1, schedule="constant", epochs=200)
    site.trainer()
    over = _over(client, job)
    assert over.status is Status.FAILED
    task = next(task for task in over.tasks if task.kind is TaskKind.FOLD)
    assert "smaller learning rate" in str(task.error)
