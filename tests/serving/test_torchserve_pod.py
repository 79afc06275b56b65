"""The inference pod with TorchServe in it: `AIMIC_PREDICTOR_URL=torchserve://` and nothing else is different."""

import http.server
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from prometheus_client.openmetrics import parser

from aimic.nets import bundle as bundles
from services.local.servers.ports import free_ports
from tests.serving.torchserve_scene import bundle, family, fronts, until

EXECUTOR = "torch-eager-fp32-cpu"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Answers what ingest answers; its address."""
    digest = bundle(tmp_path / "made")
    bundles.export(tmp_path / "made", tmp_path / "bundle.tar")
    entry = {"name": "cells", "version": 1, "bundle_hash": digest, "stage": "serving", "bundle_url": "/bundle"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = tmp_path / "bundle.tar"
            body = file.read_bytes() if self.path == "/bundle" else json.dumps({"items": [entry]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Pod:
    """`python -m services.inference`, whose TorchServe works in a directory of its own."""

    def __init__(self, home: Path, directory: Path, registry: str) -> None:
        self.directory = directory
        self.rest, grpc_port, self.ops = free_ports(3)
        self.log = home / "log"
        settings = {
            "AIMIC_HOME": str(home),
            "AIMIC_INGEST_URL": registry,
            "AIMIC_PREDICTOR_URL": f"torchserve://{directory}",
            "AIMIC_INFERENCE_EXECUTOR": EXECUTOR,
            "AIMIC_INFERENCE_PORT": str(self.rest),
            "AIMIC_INFERENCE_GRPC_PORT": str(grpc_port),
            "AIMIC_INFERENCE_OPS_PORT": str(self.ops),
            "AIMIC_INFERENCE_DECODERS": "1",
        }
        with self.log.open("w") as log:
            command = (sys.executable, "-m", "services.inference")
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, **settings})

    def says(self, path: str) -> int:
        """The status of one of its operations pages; 0 without an answer."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.ops}{path}", timeout=30).status_code
        except httpx.TransportError:
            return 0

    def ask(self) -> httpx.Response:
        """Its answer to one picture."""
        return httpx.post(
            f"http://127.0.0.1:{self.rest}/inference/v1/models/cells/predict", content=_picture(), timeout=60
        )


def _picture() -> bytes:
    blocks = np.random.default_rng(3).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blocks).resize((90, 80)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def pod(tmp_path: Path, registry: str) -> Iterator[Pod]:
    (tmp_path / "home").mkdir()
    with tempfile.TemporaryDirectory(prefix="ts") as directory:  # a short name, for the sockets
        made = Pod(tmp_path / "home", Path(directory), registry)
        yield made
        made.process.kill()
        made.process.wait()
        until(lambda: not family(made.directory))


def test_a_pod_with_torchserve(pod: Pod, has_ended: Callable[[psutil.Process], bool]) -> None:
    """It answers, outlives the death of TorchServe, and leaves nothing when it is stopped."""
    until(lambda: pod.process.poll() is not None or pod.says("/readyz") == 200)
    first = pod.ask()
    assert first.status_code == 200, (first.text, pod.log.read_text())
    (answer,) = [result["answer"] for result in first.json()["results"]]
    assert answer["executor"] == EXECUTOR

    _metrics_stand_beside_ours(pod, up=True)
    front = fronts(pod.directory)[0]
    front.suspend()
    _metrics_stand_beside_ours(pod, up=False)
    front.kill()
    until(lambda: _answers_again(pod, answer["probabilities"]))
    assert pod.says("/healthz") == 200

    before = family(pod.directory)
    began = time.monotonic()
    pod.process.terminate()
    assert pod.process.wait(60) == 0
    assert time.monotonic() - began < 25
    assert before and all(map(has_ended, before))
    assert list(pod.directory.iterdir()) == []


def _metrics_stand_beside_ours(pod: Pod, *, up: bool) -> None:
    """TorchServe's, as Prometheus reads them; ours come without it, too, and long before Prometheus gives up."""
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    text = httpx.get(f"http://127.0.0.1:{pod.ops}/metrics", headers=accept, timeout=10).text
    parse: Any = parser.text_string_to_metric_families  # which refuses a name that comes twice
    families = {family.name: family for family in parse(text)}
    assert families["aimic_inference_models_loaded"].samples[0].value == 1
    assert families["aimic_inference_predictor_metrics_up"].samples[0].value == up
    assert ("ts_inference_requests" in families, "PredictionTime" in families) == (up, up)


def _answers_again(pod: Pod, expected: dict[str, float]) -> bool:
    answer = pod.ask()
    assert answer.status_code in (200, 503, 504), answer.text
    if answer.status_code != 200:
        return False
    assert answer.json()["results"][0]["answer"]["probabilities"] == pytest.approx(expected, abs=1e-5)
    return True
