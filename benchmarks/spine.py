"""Measure the spine on this machine, and write the table into benchmarks/RESULTS.md and the README.

    python -m benchmarks.spine                      drawn images, seeded random weights (times only)
    python -m benchmarks.spine --data DIR --weights-dir DIR     real images and weights (accuracies too)

Everything goes through the platform as a user meets it: `aimic up`, the REST interfaces, the front port.
"""

import argparse
import os
import platform as machine
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision

from aimic.client import Client
from aimic.domain.job import Job, JobRequest, Status, TrainSettings
from aimic.domain.split import SplitRequest
from aimic.settings import available_cpus
from benchmarks.tables import Row, processor, table, write_between_marks
from services.local.demo.cells import draw_set
from services.local.platform import Platform
from services.local.settings import LocalSettings

HERE = Path(__file__).parent
NETWORK = "mobilenet_v2"


def main() -> None:
    """Run all measurements, print the table, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of class folders; drawn images without it")
    parser.add_argument("--weights-dir", type=Path, help="directory of pretrained weights")
    parser.add_argument("--full", action="store_true", help="also the full fine-tuning with the defaults (long)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = list(measure(Path(scratch), options.data, options.weights_dir, options.full))
    text = f"{_heading(options)}\n\n{table(rows)}"
    print(text)
    for file in (HERE / "RESULTS.md", HERE.parent / "README.md"):
        write_between_marks(file, "measured", text)


def measure(scratch: Path, data: Path | None, weights: Path | None, full: bool) -> Iterator[Row]:
    """The rows of the table, in the order of a person's day."""
    if data is None:
        data = scratch / "cells"
        draw_set(data, patients=20, per_kind=10, side=224)
    settings = LocalSettings(home=scratch / "home", weights_dir=weights or _random_weights(scratch))
    started = time.monotonic()
    with Platform(settings, quiet=True) as platform, Client(settings.front_url) as client:
        yield "`aimic up` until everything is ready", f"{time.monotonic() - started:.1f} s"
        yield from _import(client, data)
        yield from _train(client, weights is not None, full)
        yield from _predict(client, sorted(path for path in data.glob("*/*") if path.is_file()))
        started = time.monotonic()
        platform.stop()
        yield "Ctrl-C until no process is left", f"{time.monotonic() - started:.1f} s"


def _import(client: Client, data: Path) -> Iterator[Row]:
    for words in ("import", "the same import again (nothing new stored)"):
        started = time.monotonic()
        done = client.datasets.import_(data, "bench")
        seconds = time.monotonic() - started
        yield f"{words}, {done.seen:,} files", f"{seconds:.1f} s ({done.seen / seconds:.0f} images/s)"


def _train(client: Client, real: bool, full: bool) -> Iterator[Row]:
    frozen = TrainSettings(networks=(NETWORK,), weights="imagenet", mode="frozen")
    job, seconds = _run(client, frozen)
    yield f"{NETWORK} frozen, 5 folds, features to registered model", _result(client, job, seconds, real)
    if full:
        tuned = TrainSettings(networks=(NETWORK,), weights="imagenet", split=SplitRequest(kind="holdout", fraction=0.2))
        job, seconds = _run(client, tuned)
        yield f"{NETWORK} full fine-tuning with the defaults, hold-out 0.2", _result(client, job, seconds, real)


def _run(client: Client, settings: TrainSettings) -> tuple[Job, float]:
    started = time.monotonic()
    job = client.jobs.create(JobRequest(dataset="bench", settings=settings))
    for _ in client.jobs.watch(job.id):
        pass
    job = client.jobs.show(job.id)
    if job.status is not Status.DONE:
        raise SystemExit(f"the job is {job.status}: {job.error}")
    return job, time.monotonic() - started


def _result(client: Client, job: Job, seconds: float, real: bool) -> str:
    name, _, version = job.models[0].rpartition(":")
    accuracy = client.models.show(name, int(version)).metrics["pooled"]["accuracy"]
    # With random weights the accuracy means nothing, so it isn't told.
    return f"{seconds / 60:.1f} min" + (f", pooled accuracy {accuracy:.4f}" if real else "")


def _predict(client: Client, files: list[Path]) -> Iterator[Row]:
    model = f"bench-{NETWORK}"
    client.predict(model, files[:1])
    times = []
    for file in files[:50]:
        started = time.perf_counter()
        client.predict(model, [file])
        times.append((time.perf_counter() - started) * 1000)
    p50, p95 = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    yield "one image, file to answer over REST", f"p50 {p50:.0f} ms, p95 {p95:.0f} ms"
    started = time.perf_counter()
    client.predict(model, files[:100])
    yield f"{len(files[:100])} images, files to answers over REST", f"{time.perf_counter() - started:.1f} s"


def _random_weights(scratch: Path) -> Path:
    """A seeded state file under torchvision's name: the same work as with real weights."""
    folder = scratch / "weights"
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(torchvision.models.get_model(NETWORK).state_dict(), folder / f"{NETWORK}.pth")
    return folder


def _heading(options: argparse.Namespace) -> str:
    data = options.data.name if options.data else "drawn images, random weights"
    return (
        f"{time.strftime('%Y-%m-%d')}, {available_cpus()} cores of {processor()}, "
        f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB, "
        f"Python {machine.python_version()}, torch {torch.__version__}; data: {data}. "
        f"Command: `python -m benchmarks.spine{' --data … --weights-dir …' if options.data else ''}"
        f"{' --full' if options.full else ''}`"
    )


if __name__ == "__main__":
    main()
