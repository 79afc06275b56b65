"""How trainers scale, and what the platform costs a fold: ratios, written into benchmarks/RESULTS.md.

    python -m benchmarks.scaling

Runs on the real servers, which it starts for itself. Wants a quiet machine with two cores: each trainer has one thread.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from aimic.client import Client
from aimic.domain.job import Job, ProgressKind, Status, TrainSettings
from aimic.domain.split import Split
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from aimic.settings import available_cpus
from benchmarks.bare import bare_loop
from benchmarks.stack import SITES, Stack, kill, result_of, small_job, start_job, until
from benchmarks.tables import Row, processor, table, write_between_marks
from services.local.servers.together import Servers

RESULTS = Path(__file__).with_name("RESULTS.md")
NETWORK = "mobilenet_v2"
FOLDS = 4
JOB_S = 3600.0
SHARED: dict[str, Any] = {"networks": (NETWORK,), "image_size": 64, "augment": "none", "lr": 1e-3}


class Cost(NamedTuple):
    """Of a piece of work."""

    wall: float
    cpu: float
    """Seconds of CPU of the trainers and all that they have started."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, help="of each fold that is shared between trainers")
    parser.add_argument("--long", type=int, default=200, help="epochs of the fold that is compared with a bare loop")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with Servers.on(home / "servers") as servers, Stack(home / "stack", servers) as stack:
            rows = list(measure(stack, wish.epochs, wish.long))
    head = (
        f"{time.strftime('%Y-%m-%d')}, {available_cpus()} cores of {processor()}, torch {torch.__version__}; "
        f"{NETWORK} at {SHARED['image_size']} px, one thread a trainer; Kafka, MinIO and PostgreSQL on the same cores. "
        f"Command: `python -m benchmarks.scaling --epochs {wish.epochs} --long {wish.long}`"
    )
    text = f"{head}\n\n{table(rows)}"
    print(text)
    write_between_marks(RESULTS, "scaling", text)


def measure(stack: Stack, epochs: int, long: int) -> Iterator[Row]:
    """The rows of the table."""
    with stack.client(SITES[0]) as client:
        stack.import_cells(client, patients=10, per_kind=10)
        trainers = [stack.start_trainer("one")]
        _warm(client)
        one = _folds(stack, client, trainers, epochs)
        fold, split = _one_fold(stack, client, trainers, long)
        trainers.append(stack.start_trainer("two"))
        _warm(client)
        two = _folds(stack, client, trainers, epochs)
        for trainer in trainers:
            kill(trainer)
    yield f"{FOLDS} folds on 2 trainers against 1: how much sooner", f"{one.wall / two.wall:.2f} times"
    yield "the same: CPU time of the trainers", f"{two.cpu / one.cpu:.2f} times"
    bare = _bare(split, long)
    yield f"one fold of {fold.wall:.0f} s through the platform against a bare loop: wall", _more(fold.wall, bare.wall)
    yield "the same: CPU time of the trainer", _more(fold.cpu, bare.cpu)


def _more(ours: float, bare: float) -> str:
    return f"{100 * (ours / bare - 1):+.1f} %"


def _settings(**more: object) -> TrainSettings:
    return small_job(**(SHARED | more))


def _warm(client: Client) -> None:
    """torch is loaded in every child before a clock runs; the images that count are not prepared yet."""
    job = start_job(client, _settings(image_size=32, epochs=3, split={"kind": "kfold", "k": 2}))
    result_of(client, job, JOB_S)


def _folds(stack: Stack, client: Client, trainers: Sequence[subprocess.Popen[bytes]], epochs: int) -> Cost:
    """From the first fold's claim until the last fold is done."""
    job, began = _start(client, trainers, _settings(epochs=epochs, split={"kind": "kfold", "k": FOLDS}))
    until("all folds are done", lambda: _folds_done(stack, job) == FOLDS, JOB_S)
    cost = _since(trainers, began)
    client.jobs.cancel(job.id)
    return cost


def _one_fold(
    stack: Stack, client: Client, trainers: Sequence[subprocess.Popen[bytes]], epochs: int
) -> tuple[Cost, Split]:
    """A fold by itself: wall time from its claim to its result by the records' clock."""
    settings = _settings(epochs=epochs, split={"kind": "holdout", "fraction": 0.2})
    job, began = _start(client, trainers, settings)
    until("the fold is done", lambda: _folds_done(stack, job) == 1, JOB_S)
    cpu = _since(trainers, began).cpu
    split = client.jobs.split(job.id)
    times = {
        event.data["status"]: event.at
        for event in client.jobs.progress(job.id)
        if event.kind is ProgressKind.STATUS and event.task_id == job.tasks[0].id
    }
    wall = (times[Status.DONE] - times[Status.RUNNING]).total_seconds()
    result_of(client, job, JOB_S)
    return Cost(wall, cpu), split


def _start(client: Client, trainers: Sequence[subprocess.Popen[bytes]], settings: TrainSettings) -> tuple[Job, Cost]:
    return start_job(client, settings, f"scaling-{time.monotonic_ns()}"), Cost(time.perf_counter(), _cpu(trainers))


def _since(trainers: Sequence[subprocess.Popen[bytes]], began: Cost) -> Cost:
    return Cost(time.perf_counter() - began.wall, _cpu(trainers) - began.cpu)


def _cpu(trainers: Sequence[subprocess.Popen[bytes]]) -> float:
    used = 0.0
    for trainer in trainers:
        parent = psutil.Process(trainer.pid)
        for process in (parent, *parent.children(recursive=True)):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def _folds_done(stack: Stack, job: Job) -> int:
    return sum(task.status == "done" and "/fold/" in task.key for task in stack.tasks(job))


def _bare(split: Split, epochs: int) -> Cost:
    """The same network, batches and epochs in this process, with one thread."""
    torch.set_num_threads(1)
    settings = _settings(epochs=epochs, batch_size=16)
    net = build(NETWORK, len(split.classes), settings.image_size or 224, Weights.none(), seed=0)
    net.set_mode("full")
    bare_loop(net, settings, 64, 0, 1)  # torch makes its choices once
    before = time.process_time()
    wall = bare_loop(net, settings, len(split.train(0)), len(split.inner[0]), epochs)
    return Cost(wall, time.process_time() - before)


if __name__ == "__main__":
    main()
