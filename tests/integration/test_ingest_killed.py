"""Ingest as a real process, killed with SIGKILL: nothing acknowledged is lost, and nothing counts twice."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from aimic.adapters.sqlite_events import SqliteEvents
from aimic.client import Client
from aimic.domain.job import JobRequest, TrainSettings
from aimic.domain.split import SplitRequest
from aimic.events import TaskReady
from services.local.servers.ports import free_ports


class Process:
    """`python -m services.ingest` on a home, started again after a kill."""

    def __init__(self, home: Path) -> None:
        port, operations = free_ports(2)
        ports = {"AIMIC_INGEST_PORT": str(port), "AIMIC_INGEST_OPS_PORT": str(operations)}
        self._env = {**os.environ, "AIMIC_HOME": str(home), **ports}
        self.url, self._ready = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{operations}/readyz"
        self.start()

    def start(self) -> None:
        """Start and wait until it is ready."""
        self._process = subprocess.Popen([sys.executable, "-m", "services.ingest"], env=self._env)
        end = time.monotonic() + 120
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(self._ready, timeout=2).status_code == 200 and httpx.get(self.url, timeout=2):
                    return
            time.sleep(0.1)
        self.end(signal.SIGKILL)
        raise AssertionError("ingest did not become ready")

    def end(self, number: int) -> tuple[int, float]:
        """Send a signal; exit status, and seconds until the process was gone."""
        began = time.monotonic()
        self._process.send_signal(number)
        return self._process.wait(30), time.monotonic() - began


@pytest.fixture
def ingest(tmp_path: Path) -> Iterator[Process]:
    """Ingest on a fresh home."""
    process = Process(tmp_path / "home")
    yield process
    process.end(signal.SIGKILL)


def _pictures(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for label in ("round", "long"):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            data = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(data, "PNG")
            (folder / label / f"{number}.png").write_bytes(data.getvalue())
    return folder


class WorkerByHand:
    """A trainer's side of the task protocol, one call at a time."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1/tasks", timeout=20)

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()

    def claim(self) -> dict[str, Any]:
        """The next task; there must be one."""
        answer = self._http.post("/claim", json={"worker": "by hand"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def tell(self, claim: dict[str, Any], verb: str, **body: Any) -> httpx.Response:
        """One call about a task."""
        headers = {"X-Task-Token": claim["token"]}
        return self._http.post(
            f"/{claim['task']['id']}/{verb}", json={"fence": claim["fence"], **body}, headers=headers
        )


def test_a_kill_loses_nothing_that_was_acknowledged(ingest: Process, tmp_path: Path) -> None:
    with Client(ingest.url) as client, closing(WorkerByHand(ingest.url)) as worker:
        client.datasets.import_(_pictures(tmp_path / "cells"), "cells")
        settings = TrainSettings(networks=("resnet34",), split=SplitRequest(k=2))
        job = client.jobs.create(JobRequest(dataset="cells", settings=settings))
        first, second = worker.claim(), worker.claim()
        assert worker.tell(first, "finish", result={"fold": 0}).status_code == 204
        epoch = {"kind": "epoch", "data": {"epoch": 1, "epochs": 30, "seconds": 1.0}}
        assert worker.tell(second, "progress", events=[epoch]).status_code == 204
        before, told = client.jobs.show(job.id), list(client.jobs.progress(job.id))

        ingest.end(signal.SIGKILL)
        ingest.start()

        assert client.jobs.show(job.id) == before
        assert list(client.jobs.progress(job.id)) == told
        assert client.datasets.show("cells").latest is not None
        # the one who finished may say so again, and the one who works goes on under its lease
        assert worker.tell(first, "finish", result={"fold": 0}).status_code == 204
        assert worker.tell(second, "renew").json()["cancel"] is False
        events = SqliteEvents(tmp_path / "home" / "events.db")
        heard = events.subscribe((TaskReady.topic,), "test")
        assert worker.tell(second, "finish", result={"fold": 1}).status_code == 204
        ready = {task.id for task in client.jobs.show(job.id).tasks if task.status.value == "ready"}
        assert len(ready) == 2
        woken, end = set[str](), time.monotonic() + 60
        while not ready <= woken:
            assert time.monotonic() < end
            woken |= {delivery.key for delivery in heard.poll(3)}
        heard.close()
        events.close()


def test_asked_to_end_it_ends_soon_though_somebody_watches(ingest: Process, tmp_path: Path) -> None:
    with Client(ingest.url) as client:
        client.datasets.import_(_pictures(tmp_path / "cells"), "cells")
        settings = TrainSettings(networks=("resnet34",), split=SplitRequest(k=2))
        job = client.jobs.create(JobRequest(dataset="cells", settings=settings))
    with httpx.stream("GET", f"{ingest.url}/api/v1/jobs/{job.id}/events", timeout=20) as answer:
        lines = answer.iter_lines()
        next(lines)
        status, seconds = ingest.end(signal.SIGTERM)
        assert status == 0 and seconds < 8
