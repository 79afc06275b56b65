"""kill -9 at any moment: nothing acknowledged is lost, the job goes on, no fold is counted twice."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from aimic.client import Client
from aimic.domain.dataset import LabelRule
from aimic.domain.job import Job, JobRequest, ProgressKind, Status, TrainSettings
from aimic.domain.split import SplitRequest
from services.local.demo.cells import draw_set
from services.local.platform import Platform
from services.local.settings import LocalSettings

MakeSettings = Callable[..., LocalSettings]
SETTINGS = TrainSettings(
    networks=("shufflenet_v2_x1_0",),
    split=SplitRequest(kind="kfold", k=2),
    epochs=4,
    batch_size=16,
    image_size=32,
    lr=5e-3,
    threads=1,
)


def _start_job(client: Client, folder: Path) -> Job:
    count = draw_set(folder, patients=6, per_kind=3, side=32)
    done = client.datasets.import_(folder, "cells", LabelRule(group_pattern=r"/(P\d+)_"))
    assert done.stored + done.known == count
    return client.jobs.create(JobRequest(dataset="cells", settings=SETTINGS))


def _epochs(client: Client, job: Job) -> int:
    return sum(event.kind is ProgressKind.EPOCH for event in client.jobs.progress(job.id))


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not within the time allowed"
        time.sleep(0.05)


def _kill(platform: Platform, what: str) -> None:
    """kill -9 of everything, or of the processes whose command line names a module."""
    if what == "all":
        platform.kill()
        return
    for process in psutil.Process(platform.process.pid).children(recursive=True):
        if what in process.cmdline():
            process.kill()
            return
    raise AssertionError(f"{what} is not running")


def _finish(client: Client, job: Job) -> dict[str, Any]:
    _until(lambda: client.jobs.show(job.id).status.over)
    over = client.jobs.show(job.id)
    assert over.status is Status.DONE, over.error
    name, version = over.models[0].rsplit(":", 1)
    model = client.models.show(name, int(version))
    return {"hash": model.bundle_hash, "metrics": model.metrics, "tasks": [task.status for task in over.tasks]}


@pytest.fixture(scope="module")
def undisturbed(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the job gives when nobody disturbs it."""
    with Client(platform.settings.front_url) as client:
        return _finish(client, _start_job(client, tmp_path_factory.mktemp("cells")))


@pytest.mark.parametrize("what", ["services.trainer.child", "services.trainer", "services.ingest", "all"])
def test_the_job_ends_as_if_nothing_had_happened(
    what: str, undisturbed: dict[str, Any], local_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = local_settings(tmp_path / "home")
    platform = Platform(settings, quiet=True)
    try:
        platform.wait_until_ready()
        with Client(settings.front_url) as client:
            job = _start_job(client, tmp_path / "cells")
            _until(lambda: _epochs(client, job) >= 2)
            _kill(platform, what)
        if what == "all":
            platform = Platform(settings, quiet=True)
            platform.wait_until_ready()
        with Client(settings.front_url) as client:
            # Every image that was acknowledged is there, byte for byte under its own name.
            version = client.datasets.version("cells")
            assert version is not None
            assert sum(version.counts) == 6 * 3 * 4
            result = _finish(client, job)
    finally:
        platform.stop()
    assert result["metrics"]["pooled"]["n"] == undisturbed["metrics"]["pooled"]["n"]
    assert result == undisturbed
