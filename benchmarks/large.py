"""Import much, and watch the memory of every process: none may take more than 512 MiB.

    python -m benchmarks.large                                100,000 small images, files and SQLite
    python -m benchmarks.large --profile servers              the same on PostgreSQL, Kafka and MinIO
    python -m benchmarks.large --archive-gib 20 --profile servers --compress

Everything goes through the platform as a user meets it; the client is a process of its own. Once a second the
resident memory of all of them is read, and how much of it is their own: the rest are files that they have mapped
(libraries, caches), which the kernel takes back at will. Afterwards a job is started, until its images are prepared.
Ends with 1 when a process of ours went over the limit, by all of its memory; the two that load torch, whose libraries
alone map 350 MiB, by their own. `--keep FILE` writes what was printed to a file too.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil

from aimic.client import Client, Source
from aimic.domain.dataset import ImportStatus
from aimic.domain.job import JobRequest, ProgressKind, TrainSettings
from aimic.domain.split import SplitRequest
from aimic.heap import give_back
from benchmarks.drawn import Archive, folder
from services.local.platform import Platform
from services.local.servers.ports import free_ports
from services.local.settings import LocalSettings, Profile

LIMIT_MIB = 512
THEIRS = ("postgres", "java", "minio")
"""Servers that are not ours: shown, not judged."""
WITH_TORCH = ("services.inference", "services.trainer.child")
_MIB = 2**20


class Memory(NamedTuple):
    """Of a process, in bytes."""

    resident: int
    own: int
    """Without the files that it has mapped."""


class Watch:
    """The largest memory of every process below ours, by what it is, sampled once a second."""

    def __init__(self) -> None:
        self._peaks: dict[str, Memory] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(1.0):
            for process in psutil.Process().children(recursive=True):
                try:
                    name, taken = _name(process), _memory(process.pid)
                except (psutil.Error, OSError):  # it has ended
                    continue
                before = self._peaks.get(name, taken)
                self._peaks[name] = Memory(max(before.resident, taken.resident), max(before.own, taken.own))

    def take(self) -> dict[str, Memory]:
        """The peaks since the last time."""
        peaks, self._peaks = self._peaks, {}
        return peaks


def _name(process: psutil.Process) -> str:
    for server in THEIRS:
        if server in process.name():
            return server
    command = process.cmdline()
    return command[command.index("-m") + 1] if "-m" in command else process.name()


def _memory(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if name[:2] == "Rs"}
    own = kib.get("RssAnon", 0) + kib.get("RssShmem", 0)
    return Memory((own + kib.get("RssFile", 0)) * 1024, own * 1024)


def report(say: Callable[[str], None], what: str, peaks: dict[str, Memory]) -> bool:
    """Tell the peaks; whether all of ours are within the limit."""
    say(f"{what}: peak memory, MiB")
    say("  resident    own")
    fits = True
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1].resident):
        judged = peak.own if name in WITH_TORCH else peak.resident
        over = name not in THEIRS and judged > LIMIT_MIB * _MIB
        fits = fits and not over
        say(f"  {peak.resident / _MIB:8.0f}{peak.own / _MIB:7.0f}  {name}{'  OVER THE LIMIT' if over else ''}")
    return fits


def send(server: str, options: argparse.Namespace, scratch: Path) -> None:
    """The client's process: import, and tell how long it took."""
    give_back()
    what: Path | Source = Archive(int(options.archive_gib * 2**30)) if options.archive_gib else scratch / "cells"
    times: dict[str, float] = {}
    started = time.monotonic()
    with Client(server) as client:

        def note(step: object) -> None:
            phase = getattr(getattr(step, "state", None), "phase", None) or "sending"
            times.setdefault(phase, time.monotonic() - started)

        done = client.datasets.import_(what, "large", progress=note)
    took = time.monotonic() - started
    if done.status is not ImportStatus.DONE:
        raise SystemExit(f"the import {done.status}: {done.error}")
    phases = ", ".join(f"{phase} from {at:.0f} s" for phase, at in times.items())
    print(f"{done.stored:,} images stored, {done.refused:,} refused, in {took:.0f} s ({done.seen / took:.0f} images/s)")
    print(f"({phases})")


def prepare(client: Client) -> str:
    """Start a job, wait until the trainer has prepared its images, stop it."""
    started = time.monotonic()
    settings = TrainSettings(
        networks=("mobilenet_v2",), weights="none", mode="full", image_size=32, epochs=1, split=SplitRequest(k=2)
    )
    job = client.jobs.create(JobRequest(dataset="large", settings=settings))
    planned = time.monotonic() - started
    for event in client.jobs.watch(job.id):
        if event.kind is ProgressKind.EPOCH or (event.kind is ProgressKind.BATCH and _prepared(event.data)):
            break
    took = time.monotonic() - started - planned
    client.jobs.cancel(job.id)
    return f"job planned in {planned:.1f} s, its images prepared {took:.0f} s later"


def _prepared(batch: dict[str, Any]) -> bool:
    return batch.get("phase") != "cache" or batch.get("batch") == batch.get("batches")


@contextmanager
def platform_of(options: argparse.Namespace, scratch: Path) -> Iterator[Platform]:
    """A platform of its own."""
    if options.compress:  # inherited by the store
        os.environ |= {"MINIO_COMPRESSION_ENABLE": "on", "MINIO_COMPRESSION_MIME_TYPES": "*"}
    several = {"ingests": 2} if options.profile is Profile.SERVERS else {}
    names = list(LocalSettings.model_validate({"home": scratch, "profile": options.profile, **several}).ports())
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    settings = LocalSettings.model_validate({"home": scratch / "home", "profile": options.profile, **several, **ports})
    with Platform(settings, quiet=True) as platform:
        yield platform


def main() -> None:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="small images, in a folder")
    parser.add_argument("--archive-gib", type=float, default=0, help="in place of these, one archive of so many GiB")
    parser.add_argument("--profile", type=Profile, default=Profile.LOCAL, choices=list(Profile))
    parser.add_argument("--compress", action="store_true", help="have MinIO compress, to save disk")
    parser.add_argument("--no-job", action="store_true", help="the import alone")
    parser.add_argument("--keep", type=Path, help="file that the output goes to as well")
    parser.add_argument("--client", nargs=2, metavar=("SERVER", "SCRATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        send(options.client[0], options, Path(options.client[1]))
        return
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    with tempfile.TemporaryDirectory(prefix="aimic-large-") as scratch:
        fits = run(options, Path(scratch), say)
    verdict = "kept by every process of ours (with torch: by its own memory)" if fits else "EXCEEDED"
    say(f"limit {LIMIT_MIB} MiB: {verdict}")
    if options.keep:
        options.keep.write_text("\n".join(lines) + "\n")
    sys.exit(not fits)


def run(options: argparse.Namespace, scratch: Path, say: Callable[[str], None]) -> bool:
    """All of it; whether every process stayed within the limit."""
    arguments = [word for word in sys.argv[1:] if word != "--keep" and word != str(options.keep)]
    say(f"{time.strftime('%Y-%m-%d')}, python -m benchmarks.large {' '.join(arguments)}")
    if not options.archive_gib:
        folder(scratch / "cells", options.images)
    with platform_of(options, scratch) as platform, Watch() as watch:
        url = platform.settings.front_url
        client = [sys.executable, "-m", "benchmarks.large", *arguments, "--client", url, str(scratch)]
        sent = subprocess.run(client, stdout=subprocess.PIPE, text=True, check=True)
        say(sent.stdout.strip())
        fits = report(say, "import", watch.take())
        if not options.no_job:
            with Client(url, timeout_s=300) as people:
                say(prepare(people))
            fits = report(say, "preparing images for training", watch.take()) and fits
    return fits


if __name__ == "__main__":
    main()
