"""A job is one trace, from the request that starts it over the event log and the trainer to its child and back."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from aimic.client import Client
from aimic.domain.dataset import ImportStatus
from aimic.domain.job import Status
from services.local.servers.ports import free_ports
from tests.serving.collector import Collector, Span

IN_TIME_S = 120.0


def _until(what: str, condition: Callable[[], object]) -> None:
    end = time.monotonic() + IN_TIME_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Site:
    """An ingest and a trainer on one home, whose traces go to the collector."""

    def __init__(self, home: Path, collector: Collector) -> None:
        port, ingest_ops, trainer_ops = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        self._log = home / "log"
        self._environment = {
            **os.environ,
            "AIMIC_HOME": str(home),
            "AIMIC_INGEST_PORT": str(port),
            "AIMIC_INGEST_OPS_PORT": str(ingest_ops),
            "AIMIC_TRAINER_OPS_PORT": str(trainer_ops),
            "AIMIC_INGEST_URL": self.url,
            "AIMIC_TRAINER_POLL_S": "0.5",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        self._processes = [self._start(name) for name in ("ingest", "trainer")]
        _until("ingest answers", self._answers)

    def log(self) -> list[dict[str, object]]:
        """What both said, and the trainer's child."""
        lines = self._log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]

    def close(self) -> None:
        """End both."""
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen((sys.executable, "-m", f"services.{name}"), env=self._environment, stderr=log)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v1/datasets").is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def site(tmp_path: Path, collector: Collector) -> Iterator[Site]:
    made = Site(tmp_path, collector)
    yield made
    made.close()


def _import(client: Client, folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(16):
        path = folder / ("dark", "light")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.normal(60 + 120 * (number % 2), 40, (40, 40, 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    assert client.datasets.import_(folder, "cells").status is ImportStatus.DONE


def _named(spans: list[Span], service: str, name: str) -> Span:
    return next(span for span in spans if (span.service, span.name) == (f"aimic-{service}", name))


def test_a_job_is_one_trace(site: Site, collector: Collector, tmp_path: Path) -> None:
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    split = {"kind": "holdout", "fraction": 0.25}
    settings = {"networks": ["shufflenet_v2_x1_0"], "split": split, "epochs": 1, "image_size": 32, "threads": 1}
    with Client(site.url) as client:
        _import(client, tmp_path / "cells")
        answer = httpx.post(
            f"{site.url}/api/v1/jobs",
            json={"dataset": "cells", "settings": settings},
            headers={"traceparent": f"00-{trace}-{caller}-01"},
            timeout=60,
        )
        assert answer.status_code == 201, answer.text
        job = answer.json()["id"]
        _until("the job is over", lambda: client.jobs.show(job).status.over)
        assert client.jobs.show(job).status is Status.DONE, client.jobs.show(job).error

    finish = "POST /tasks/{task_id}/finish"
    wanted = {
        ("aimic-ingest", "POST /jobs"),
        ("aimic-ingest", "publish aimic.tasks"),
        ("aimic-trainer", "task fold"),
        ("aimic-trainer", "epoch"),
        ("aimic-trainer", "task package"),
        ("aimic-trainer-child", "train fold"),
        ("aimic-trainer-child", "train package"),
        ("aimic-ingest", finish),
    }
    spans = collector.until(trace, wanted.issubset, IN_TIME_S)
    start, fold = _named(spans, "ingest", "POST /jobs"), _named(spans, "trainer", "task fold")
    assert start.parent == caller
    assert _named(spans, "ingest", "publish aimic.tasks").parent == start.id
    assert fold.parent == start.id and fold.facts["aimic.job"] == job and fold.facts["aimic.ending"] == "done"
    assert _named(spans, "trainer-child", "train fold").parent == fold.id
    assert any(span.name == finish and span.parent == fold.id for span in spans)
    _the_log_names_it(site, trace)


def _the_log_names_it(site: Site, trace: str) -> None:
    left = [line for line in site.log() if line["message"] == "task claimed"]
    assert left and all(line["trace_id"] == trace and line["request_id"] for line in left)
