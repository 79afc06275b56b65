"""The inference pod with TorchServe in it: `AIMIC_PREDICTOR_URL=torchserve://` and nothing else is different.

Where this machine lets us, the whole disk is read-only for it, but for its home and for TorchServe's directory.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.openmetrics import parser

from aimic.adapters.torchserve.java import find_java
from aimic.nets import bundle as bundles
from services.local.servers.ports import free_ports
from tests import pods
from tests.pods import picture
from tests.serving.torchserve_scene import bundle, family, fronts, until, workers

EXECUTOR = "torch-eager-fp32-cpu"
QUICK_PROBES = {
    "AIMIC_INFERENCE_PROBE_S": "1",
    "AIMIC_INFERENCE_PROBE_AGAIN_S": "0.5",
    "AIMIC_INFERENCE_PROBE_TIMEOUT_S": "1",
    # So that TorchServe doesn't end the worker that hangs: it is to be noticed by us.
    "AIMIC_INFERENCE_WORKER_S": "600",
}
_SLOW_JAVA = """#!/bin/sh
[ "$1" = -version ] || while [ ! -e {go} ]; do sleep 0.1; done
exec {java} "$@"
"""
_READ_ONLY = """
for place in "$1" "$2"; do mount --bind "$place" "$place" || exit; done
mount -o remount,bind,ro / || exit
shift 2
exec "$@"
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Answers what ingest answers; its address."""
    made = tmp_path_factory.mktemp("registry")
    digest = bundle(made / "made")
    bundles.export(made / "made", made / "bundle.tar")
    with pods.registry(made / "bundle.tar", digest) as server:
        yield pods.address(server)


class Pod:
    """`python -m services.inference`, whose TorchServe works in a directory of its own. It may be started again."""

    def __init__(self, home: Path, directory: Path) -> None:
        self.home = home
        self.directory = directory
        self.log = home / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, registry: str, **more: str) -> None:
        """Start it; it isn't ready then."""
        self.rest, grpc_port, self.ops = free_ports(3)
        settings = {
            "AIMIC_HOME": str(self.home),
            "AIMIC_INGEST_URL": registry,
            "AIMIC_PREDICTOR_URL": f"torchserve://{self.directory}",
            "AIMIC_INFERENCE_EXECUTOR": EXECUTOR,
            "AIMIC_INFERENCE_PORT": str(self.rest),
            "AIMIC_INFERENCE_GRPC_PORT": str(grpc_port),
            "AIMIC_INFERENCE_OPS_PORT": str(self.ops),
            "AIMIC_INFERENCE_DECODERS": "1",
            "TMPDIR": str(self.home),
        }
        command = [*_alone_writable(self.home, self.directory), sys.executable, "-m", "services.inference"]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(command, stderr=log, env={**os.environ, **settings, **more})

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The one that was started last."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def says(self, path: str) -> int:
        """The status of one of its operations pages; 0 without an answer."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.ops}{path}", timeout=30).status_code
        except httpx.TransportError:
            return 0

    def ready(self) -> bool:
        """Whether it is; AssertionError when it ended."""
        assert self.process.poll() is None, self.log.read_text()[-5000:]
        return self.says("/readyz") == 200

    def ask(self, deadline_s: float = 60) -> httpx.Response:
        """Its answer to one picture."""
        return httpx.post(
            f"http://127.0.0.1:{self.rest}/inference/v1/models/cells/predict",
            content=picture(3),
            headers={"x-deadline-ms": str(round(deadline_s * 1000))},
            timeout=120,
        )

    def turns_away(self, deadline_s: float) -> bool:
        """Whether it says, in time and in words, that there is no answer now."""
        began = time.monotonic()
        try:
            said = self.ask(deadline_s)
        except httpx.ConnectError:
            return False
        assert time.monotonic() - began < deadline_s + 10
        return said.status_code in (503, 504) and bool(said.json()["detail"])


def _alone_writable(*places: Path) -> list[str]:
    """What comes before a command for which the rest of the disk is to be read-only; nothing where we may not."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", _READ_ONLY, "sh", *map(str, places)]
    tried = subprocess.run([*command, "true"], check=False, capture_output=True)
    return command if tried.returncode == 0 else []


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    with tempfile.TemporaryDirectory(prefix="ts") as directory:  # a short name, for the sockets
        made = Pod(tmp_path_factory.mktemp("home"), Path(directory))
        yield made
        made.kill()
        until(lambda: not family(made.directory))


def test_a_slow_start_a_network_that_hangs_and_a_sudden_end(
    pod: Pod, registry: str, has_ended: Callable[[psutil.Process], bool]
) -> None:
    go = pod.home / "go"
    java = pod.home / "bin/java"
    java.parent.mkdir()
    java.write_text(_SLOW_JAVA.format(go=go, java=find_java()))
    java.chmod(0o755)
    pod.start(registry, PATH=f"{java.parent}{os.pathsep}{os.environ['PATH']}", **QUICK_PROBES)
    until(lambda: pod.turns_away(0.5))
    assert pod.says("/healthz") == 200 and pod.says("/readyz") == 503
    go.touch()
    until(pod.ready)
    first = pod.ask()
    assert first.status_code == 200, (first.text, pod.log.read_text())
    (answer,) = [result["answer"] for result in first.json()["results"]]
    assert answer["executor"] == EXECUTOR

    (worker,) = workers(pod.directory)
    worker.send_signal(signal.SIGSTOP)
    assert pod.turns_away(1)
    until(lambda: pod.says("/readyz") == 503)
    assert pod.says("/healthz") == 200
    began = time.monotonic()
    said = pod.ask()  # fenced: told at once, and not after its minute
    assert said.status_code == 503 and int(said.headers["retry-after"]) >= 1, said.text
    assert time.monotonic() - began < 20
    worker.send_signal(signal.SIGCONT)
    until(pod.ready)
    until(lambda: _answers_again(pod, answer["probabilities"]))

    before = family(pod.directory)
    pod.kill()
    until(lambda: all(map(has_ended, before)))
    until(lambda: not list(pod.directory.iterdir()))


def test_a_pod_with_torchserve(pod: Pod, has_ended: Callable[[psutil.Process], bool]) -> None:
    """Started again without its registry it answers; it outlives the death of TorchServe, and leaves nothing."""
    (nobody,) = free_ports(1)
    pod.start(f"http://127.0.0.1:{nobody}")
    until(pod.ready)
    first = pod.ask()
    assert first.status_code == 200, (first.text, pod.log.read_text())

    _metrics_stand_beside_ours(pod, up=True)
    front = fronts(pod.directory)[0]
    front.suspend()
    _metrics_stand_beside_ours(pod, up=False)
    front.kill()
    expected = first.json()["results"][0]["answer"]["probabilities"]
    until(lambda: _answers_again(pod, expected))
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
    theirs = [name in families and bool(families[name].samples) for name in ("ts_inference_requests", "PredictionTime")]
    assert theirs == [up, up]


def _answers_again(pod: Pod, expected: Mapping[str, float]) -> bool:
    answer = pod.ask()
    assert answer.status_code in (200, 503, 504), answer.text
    if answer.status_code != 200:
        return False
    assert answer.json()["results"][0]["answer"]["probabilities"] == pytest.approx(expected, abs=1e-5)
    return True
