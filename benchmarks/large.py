"""Import much, and watch the memory of every process: none may take more than 512 MiB.

    python -m benchmarks.large --profile servers --compress      100,000 small images, then an archive of 20 GiB
    python -m benchmarks.large --images 1000                     so many images, on files and SQLite
    python -m benchmarks.large --archive-gib 2 --profile servers --compress

Each measurement has a platform of its own, and everything goes through it as a user meets it; the client is a process
of its own. After the images a job is started, until the trainer has prepared them. Once a second the memory of all
processes is read. Ends with 1 when a process of ours went over the limit; what is judged is printed first (`JUDGED`).
`--keep FILE` writes what was printed to a file too, after each measurement what there is by then.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
from benchmarks.tables import when_and_where
from services.local.platform import Platform
from services.local.servers.ports import free_ports
from services.local.settings import LocalSettings, Profile

IMAGES, ARCHIVE_GIB = 100_000, 20.0
LIMIT_MIB = 512
THEIRS = ("postgres", "java", "minio")
"""Servers that are not ours: shown, not judged."""
WITH_TORCH = ("services.inference", "services.trainer.child")
JUDGED = f"""What is judged: no process of ours may take more than {LIMIT_MIB} MiB, looked at once a second. "Resident"
is all that a process has in the machine's memory; "own" is the part that it has asked for and filled itself. The rest
are pages of files that it has mapped, above all libraries: they are there once for all processes, and the kernel drops
them when memory is short and reads them again. Every process of ours is judged by its resident memory, the stricter
measure, but for {" and ".join(WITH_TORCH)}: both load torch, whose libraries alone map 350 MiB before
an image is seen (docs/adr/0017-large-data.md), so these two are judged by their own. PostgreSQL, Kafka (java) and MinIO
are not ours: they are shown, not judged."""
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


def send(server: str, scratch: Path, archive_gib: float) -> None:
    """The client's process: import, and tell how long it took."""
    give_back()
    what: Path | Source = Archive(int(archive_gib * 2**30)) if archive_gib else scratch / "cells"
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
def platform_of(profile: Profile, compress: bool, scratch: Path) -> Iterator[Platform]:
    """A platform of its own."""
    if compress:  # inherited by the store
        os.environ |= {"MINIO_COMPRESSION_ENABLE": "on", "MINIO_COMPRESSION_MIME_TYPES": "*"}
    several = {"ingests": 2} if profile is Profile.SERVERS else {}
    names = list(LocalSettings.model_validate({"home": scratch, "profile": profile, **several}).ports())
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    settings = LocalSettings.model_validate({"home": scratch / "home", "profile": profile, **several, **ports})
    with Platform(settings, quiet=True) as platform:
        yield platform


def main() -> None:
    """Run, print, judge."""
    options = arguments(sys.argv[1:])
    if options.client:
        send(options.client[0], Path(options.client[1]), options.archive_gib)
        return
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(f"python -m benchmarks.large {' '.join(sys.argv[1:])}\n{when_and_where()}\n")
    say(textwrap.fill(JUDGED, 120))
    fits = True
    for images, archive_gib in wanted(options):
        with tempfile.TemporaryDirectory(prefix="aimic-large-") as scratch:
            fits = measure(options, images, archive_gib, Path(scratch), say) and fits
        if options.keep:
            options.keep.write_text("\n".join(lines) + "\n")
    sys.exit(not fits)


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=0, help="small images, in a folder")
    parser.add_argument("--archive-gib", type=float, default=0, help="one archive of so many GiB")
    parser.add_argument("--profile", type=Profile, default=Profile.LOCAL, choices=list(Profile))
    parser.add_argument("--compress", action="store_true", help="have MinIO compress the archive, to save disk")
    parser.add_argument("--no-job", action="store_true", help="the imports alone")
    parser.add_argument("--keep", type=Path, help="file that the output goes to as well")
    parser.add_argument("--client", nargs=2, metavar=("SERVER", "SCRATCH"), help=argparse.SUPPRESS)
    return parser.parse_args(words)


def wanted(options: argparse.Namespace) -> list[tuple[int, float]]:
    """The measurements in turn, each (images, GiB of an archive) with one of the two 0; both when none is named."""
    if not options.images and not options.archive_gib:
        return [(IMAGES, 0), (0, ARCHIVE_GIB)]
    both = [(options.images, 0.0), (0, options.archive_gib)]
    return [one for one in both if any(one)]


def measure(
    options: argparse.Namespace, images: int, archive_gib: float, scratch: Path, say: Callable[[str], None]
) -> bool:
    """One of them; whether every process stayed within the limit."""
    say(f"\n{time.strftime('%H:%M')}  {f'an archive of {archive_gib:g} GiB' if archive_gib else f'{images:,} images'}")
    if images:
        folder(scratch / "cells", images)
    with platform_of(options.profile, bool(archive_gib and options.compress), scratch) as platform, Watch() as watch:
        url = platform.settings.front_url
        client = [sys.executable, "-m", "benchmarks.large", "--client", url, str(scratch)]
        what = ["--archive-gib", str(archive_gib)]
        sent = subprocess.run([*client, *what], stdout=subprocess.PIPE, text=True, check=True)
        say(sent.stdout.strip())
        fits = report(say, "import", watch.take())
        if images and not options.no_job:
            with Client(url, timeout_s=300) as people:
                say(prepare(people))
            fits = report(say, "preparing images for training", watch.take()) and fits
    say(f"limit {LIMIT_MIB} MiB: {'kept by every process of ours, judged as above' if fits else 'EXCEEDED'}")
    return fits


if __name__ == "__main__":
    main()
