"""Several ingests and trainers as processes on the real servers: what the chaos and scaling commands and the trainers'
tests run on."""

import ctypes
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import httpx
import psutil

from aimic.client import Client
from aimic.domain.dataset import LabelRule
from aimic.domain.job import Job, JobRequest, Status, TrainSettings
from aimic.domain.split import SplitRequest
from services.local.demo.cells import draw_set
from services.local.servers.ports import free_ports
from services.local.servers.together import Servers

T = TypeVar("T")
READY_S = 120.0
SITES = ("north", "south")
SETTINGS = {
    "AIMIC_TRAINER_POLL_S": "1",
    # What packaging tries is neither training nor scaling.
    "AIMIC_TRAINER_EXECUTORS": "none",
    "AIMIC_RECORDS_CONNECTIONS": "10",
    "OMP_WAIT_POLICY": "PASSIVE",
}
OFTEN = {"AIMIC_TRAINER_CHECKPOINT_S": "2", "AIMIC_TRAINER_EPOCH_CHECKPOINT_S": "0.5"}
"""Checkpoints for folds of seconds."""
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Held(NamedTuple):
    """A row of `tasks`, past row-level security."""

    site: str
    job: str
    key: str
    status: str
    holder: str | None
    fence: int
    attempt: int
    step: int | None
    """Of the newest recorded checkpoint."""


def small_job(**more: Any) -> TrainSettings:
    """A job of seconds: a small network on small images."""
    settings: dict[str, Any] = {
        "networks": ("shufflenet_v2_x1_0",),
        "split": SplitRequest(kind="kfold", k=2),
        "epochs": 8,
        "batch_size": 16,
        "image_size": 32,
        "lr": 5e-3,
        "threads": 1,
    }
    return TrainSettings.model_validate(settings | more)


class Stack:
    """Processes on `servers`, which others may use too: the database and the bucket are its own."""

    def __init__(self, home: Path, servers: Servers, ingests: int = 1, **settings: str) -> None:
        self.home, self.servers = home, servers
        self._undo = ExitStack()
        self._settings = settings
        self._processes: list[subprocess.Popen[bytes]] = []
        ports = free_ports(2 * ingests)
        self._ports = list(zip(ports[:ingests], ports[ingests:], strict=True))
        self._keys = {site: secrets.token_hex(16) for site in SITES}
        self._trainers: dict[str, int] = {}
        """Names, and the ports on which they say that they are ready."""
        self.ingests: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            self._database = self._undo.enter_context(self.servers.postgres.fresh_database())
            self.environment = self._environment()
            for number in range(len(self._ports)):
                self.ingests.append(self.start_ingest(number))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def url(self, ingest: int = 0) -> str:
        """Where a replica of ingest answers."""
        return f"http://127.0.0.1:{self._ports[ingest % len(self._ports)][0]}"

    @property
    def database(self) -> str:
        """Its name in PostgreSQL."""
        return self._database.name

    def key(self, site: str) -> str:
        """The key of a site's owner."""
        return self._keys[site]

    def client(self, site: str = SITES[0], ingest: int = 0) -> Client:
        """A client of a site, to be closed."""
        return Client(self.url(ingest), self._keys[site])

    def start_ingest(self, number: int = 0) -> subprocess.Popen[bytes]:
        """Start a replica, and wait until it is ready."""
        port, ops = self._ports[number]
        ports = {"AIMIC_INGEST_PORT": str(port), "AIMIC_INGEST_OPS_PORT": str(ops)}
        process = self._start("services.ingest", f"ingest-{number}", ports)
        until(f"ingest {number} is ready; see {self.home}", lambda: _ready(ops, process), READY_S)
        return process

    def start_trainer(self, name: str | None = None, ingest: int = 0, **more: str) -> subprocess.Popen[bytes]:
        """Start a trainer, on a home of its own like one on another machine."""
        name = name or f"trainer-{len(self._trainers) + 1}"
        (self._trainers[name],) = free_ports(1)
        own = {
            "AIMIC_TRAINER_NAME": name,
            "AIMIC_TRAINER_OPS_PORT": str(self._trainers[name]),
            "AIMIC_INGEST_URL": self.url(ingest),
            "AIMIC_WORKER_KEY_FILE": str(self.home / "worker.key"),
        }
        return self._start("services.trainer", name, own | more)

    def await_trainer(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until a trainer that was started is ready."""
        until(f"{name} is ready; see {self.home}", lambda: _ready(self._trainers[name], process), READY_S)

    def import_cells(self, client: Client, patients: int = 6, per_kind: int = 3, side: int = 32) -> None:
        """Drawn images as the data set `cells` of the client's site."""
        folder = self.home / f"cells-{patients}-{per_kind}-{side}"
        if not folder.exists():
            draw_set(folder, patients=patients, per_kind=per_kind, side=side)
        done = client.datasets.import_(folder, "cells", LabelRule(group_pattern=r"/(P\d+)_"))
        if done.version is None:
            raise RuntimeError(f"the import ended with {done.error}")

    def tasks(self, job: Job | None = None) -> list[Held]:
        """The rows of all tasks, or of a job's, in the order of the plan."""
        query = "SELECT site, job_id, key, status, holder, fence, attempt, checkpoint_step FROM tasks ORDER BY ordinal"
        with self.servers.postgres.administrator(self._database.name) as connection:
            rows = [Held(*row) for row in connection.execute(query).fetchall()]
        return [row for row in rows if job is None or row.job == job.id]

    def execute(self, statement: str) -> None:
        """Something done to the records past everything."""
        with self.servers.postgres.administrator(self._database.name) as connection:
            connection.execute(statement.encode())

    def log(self, name: str) -> str:
        """What a process has said so far."""
        return (self.home / f"{name}.log").read_text(errors="replace")

    def _environment(self) -> dict[str, str]:
        worker, keys = self.home / "worker.key", self.home / "keys.json"
        worker.write_text(secrets.token_hex(16))
        rows = [
            {"site": site, "principal": f"{site}-lab", "sha256": hashlib.sha256(key.encode()).hexdigest()}
            for site, key in self._keys.items()
        ]
        keys.write_text(json.dumps(rows))
        servers = self.servers.kafka.environment() | self.servers.minio.environment(bucket=None)
        own = {"AIMIC_KEYS_FILE": str(keys), "AIMIC_WORKER_KEY_FILE": str(worker)}
        return {**_outside(), **SETTINGS, **servers, **self._database.environment(), **own, **self._settings}

    def _start(self, module: str, name: str, more: dict[str, str]) -> subprocess.Popen[bytes]:
        environment = {**self.environment, "AIMIC_HOME": str(self.home / name), **more}
        with (self.home / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # One prctl call, safe between fork and exec. It ends with the thread that started it: the main one.
                preexec_fn=_die_with_parent,  # noqa: PLW1509
            )
        self._processes.append(process)
        return process

    def _end(self) -> None:
        for process in self._processes:
            kill(process)
        self._undo.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of a process, stopped or not, and of whatever it has started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    process.wait()
    psutil.wait_procs(family, timeout=10)  # a child ends by itself once its worker is gone


def until(what: str, condition: Callable[[], T | None], seconds: float = 120) -> T:
    """The first true answer; TimeoutError that names `what`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.05)
    return found


def result_of(client: Client, job: Job, seconds: float = 300) -> dict[str, Any]:
    """What a job gave, once it is over: the same for the same images and settings, whoever trained it."""
    over = until(f"job {job.id} is over", lambda: _over(client, job), seconds)
    if over.status is not Status.DONE:
        raise RuntimeError(f"the job is {over.status}: {over.error}")
    models = [client.models.show(name, int(version)) for name, version in (m.rsplit(":", 1) for m in over.models)]
    return {"hashes": [model.bundle_hash for model in models], "metrics": [model.metrics for model in models]}


def start_job(client: Client, settings: TrainSettings, model: str | None = None) -> Job:
    """A job on the data set `cells`."""
    return client.jobs.create(JobRequest(dataset="cells", settings=settings, model=model))


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """SIGTERM, and wait."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait(60)


def _over(client: Client, job: Job) -> Job | None:
    found = client.jobs.show(job.id)
    return found if found.status.over else None


def _ready(ops_port: int, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"a process ended with {process.returncode}")
    try:
        return httpx.get(f"http://127.0.0.1:{ops_port}/readyz", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _outside() -> dict[str, str]:
    """Our environment without what somebody has set for an installation of their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AIMIC_")}


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
