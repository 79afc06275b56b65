"""kill -9 at any moment: nothing acknowledged is lost, the job goes on, no fold is counted twice."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil
import pytest

from aimic.client import Client
from aimic.domain.dataset import LabelRule
from aimic.domain.job import Job, JobRequest, ProgressKind, Status, TrainSettings
from aimic.domain.split import SplitRequest
from services.local.demo.cells import draw_set
from services.local.platform import Platform
from services.local.settings import LocalSettings

pytestmark = pytest.mark.timeout(900)
T = TypeVar("T")
MakeSettings = Callable[..., LocalSettings]
CommandOf = Callable[[psutil.Process], list[str]]
SETTINGS = TrainSettings(
    networks=("shufflenet_v2_x1_0",),
    split=SplitRequest(kind="kfold", k=2),
    epochs=16,
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


class Kept(NamedTuple):
    """A training whose checkpoint ingest has taken."""

    task: str
    epochs: int
    """How many it covers."""


def _kept(home: Path) -> Kept | None:
    """The newest checkpoint of a fold that is being trained."""
    query = "SELECT id, checkpoint FROM tasks WHERE checkpoint_step IS NOT NULL AND status = 'running'"
    with closing(sqlite3.connect(f"file:{home / 'records.db'}?mode=ro", uri=True)) as records:
        row = records.execute(query).fetchone()
    if row is None:
        return None
    try:
        journal = (home / "objects" / json.loads(row[1])["journal.json"]).read_text()
    except FileNotFoundError:  # a newer one has taken its place
        return None
    return Kept(row[0], json.loads(journal)["epoch"])


def _fence(home: Path, task: str) -> int:
    """How often the task was given out."""
    with closing(sqlite3.connect(f"file:{home / 'records.db'}?mode=ro", uri=True)) as records:
        return int(records.execute("SELECT fence FROM tasks WHERE id = ?", (task,)).fetchone()[0])


def _told(client: Client, job: Job, task: str) -> Counter[int]:
    """How often each epoch of a task was told."""
    events = client.jobs.progress(job.id)
    return Counter(e.data["epoch"] for e in events if e.kind is ProgressKind.EPOCH and e.task_id == task)


def _until(condition: Callable[[], T | None], seconds: float = 300) -> T:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not within the time allowed"
        time.sleep(0.05)
    return found


def _find(platform: Platform, what: str, command_of: CommandOf) -> psutil.Process | None:
    for process in psutil.Process(platform.process.pid).children(recursive=True):
        if what in command_of(process):
            return process
    return None


def _kill(platform: Platform, what: str, command_of: CommandOf) -> Kept:
    """kill -9 of everything, or of the process whose command line names a module, in the middle of a training."""
    home = platform.settings.home
    if what == "services.ingest":  # what it interrupts goes on, or is over: both are right
        kept = _until(lambda: _kept(home))
        _until(lambda: _find(platform, what, command_of)).kill()
        return kept
    holder = "services.trainer" if what == "all" else what
    held, kept = _until(lambda: _held(platform, holder, command_of))
    tree = psutil.Process(platform.process.pid).children(recursive=True)
    if what == "all":
        platform.kill()
        # Its ports are free when all have gone: the kernel ends them one after the other.
        assert not psutil.wait_procs(tree, 60)[1]
    else:
        held.kill()
    return kept


def _held(platform: Platform, holder: str, command_of: CommandOf) -> tuple[psutil.Process, Kept] | None:
    """Who holds a training that has a checkpoint, held still: the training can't end before it is disturbed."""
    if _kept(platform.settings.home) is None or (process := _find(platform, holder, command_of)) is None:
        return None
    try:
        process.suspend()
    except psutil.NoSuchProcess:
        return None
    time.sleep(1)  # what it said before is seen to meanwhile; then the records say whether it had come to its end
    if (kept := _kept(platform.settings.home)) is not None:
        return process, kept
    process.resume()
    return None


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
    what: str,
    undisturbed: dict[str, Any],
    local_settings: MakeSettings,
    command_of: CommandOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # These epochs take a tenth of a second.
    monkeypatch.setenv("AIMIC_TRAINER_EPOCH_CHECKPOINT_S", "0.001")
    settings = local_settings(tmp_path / "home")
    platform = Platform(settings, quiet=True)
    try:
        platform.wait_until_ready()
        with Client(settings.front_url) as client:
            job = _start_job(client, tmp_path / "cells")
            kept = _kill(platform, what, command_of)
        if what == "all":
            platform = Platform(settings, quiet=True)
            platform.wait_until_ready()
        with Client(settings.front_url) as client:
            # Every image that was acknowledged is there, byte for byte under its own name.
            version = client.datasets.version("cells")
            assert version is not None
            assert sum(version.counts) == 6 * 3 * 4
            result = _finish(client, job)
            told = _told(client, job, kept.task)
    finally:
        platform.stop()
    # It went on from the checkpoint: what that covers was trained once, the rest after it.
    assert kept.epochs >= 1
    assert set(told) == set(range(1, 17))
    assert [told[epoch] for epoch in range(1, kept.epochs + 1)] == [1] * kept.epochs
    assert _fence(settings.home, kept.task) == (1 if what == "services.ingest" else 2)
    assert result["metrics"]["pooled"]["n"] == undisturbed["metrics"]["pooled"]["n"]
    assert result == undisturbed
