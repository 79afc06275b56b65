"""The whole way of an executor: measured by a process of its own, told to the registry, named in every answer."""

import asyncio
import io
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from aimic.adapters.local_predictor import LocalPredictor
from aimic.domain.executor import ExecutorChoice
from aimic.domain.model import ServingEntry, Stage
from aimic.domain.prediction import Answer
from aimic.domain.site import OWNER
from aimic.errors import UnavailableError
from aimic.nets import bundle
from aimic.nets.info import Member
from aimic.nets.package import Training, admit, package
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from aimic.ports.events import Events
from services.inference.app import Service, service
from services.inference.deadline import Deadline
from services.inference.settings import Settings
from tests.judged import alike
from tests.serving.torchserve_scene import until

CLASSES = ("round", "lobed", "granular")
SIDE = 64
ADMITTED = ("torch-export-fp32-cpu", "openvino-fp32-cpu")
"""By the bundle's record; of others it says nothing."""
PATIENCE_S = 800
"""Half a minute's work, which gives way to everything else on the machine."""


class Registry:
    """One model, and the choices it was told; it can be away."""

    def __init__(self, file: Path, bundle_hash: str) -> None:
        self._file = file
        self.entry = ServingEntry(
            name="cells", version=1, bundle_hash=bundle_hash, stage=Stage.SERVING, bundle_url="/bundle"
        )
        self.choices: dict[str, bytes] = {}
        self.told: list[str] = []
        self.away = False

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://registry")

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused", request=request)
        path = request.url.path
        if path == "/api/v1/serving":
            return httpx.Response(200, json={"items": [self.entry.model_dump(mode="json")], "next": None})
        if path == "/bundle":
            return httpx.Response(200, content=self._file.read_bytes())
        if request.method == "PUT":
            self.told.append(path)
            self.choices.setdefault(path, request.content)
        held = self.choices.get(path)
        return httpx.Response(404) if held is None else httpx.Response(200, content=held)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    net = build("shufflenet_v2_x1_0", len(CLASSES), SIDE, Weights.none(), seed=1)
    with torch.no_grad():
        net.head.weight.mul_(40)
    training = Training(
        classes=CLASSES,
        manifest_hash="ab" * 32,
        membership=(Member(sha256="cd" * 32, phash="0123456789abcdef", fold=0),),
        split={"k": 5},
        settings={"seed": 1},
        metrics={},
        class_mix=(3, 3, 3),
    )
    package(tmp_path / "made", net, training)
    digest = admit(tmp_path / "made", alike(*ADMITTED))
    bundle.export(tmp_path / "made", tmp_path / "bundle.tar")
    return Registry(tmp_path / "bundle.tar", digest)


def _no_events() -> Events:
    raise UnavailableError("no broker here")


def _picture() -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def answers() -> Callable[..., Awaitable[Answer]]:
    """The answer of a pod that was started on this home; where it has to measure, the one after that."""

    async def one(parts: Service) -> Answer:
        asked = parts.plane.predict("cells", None, [_picture()], Deadline.after(PATIENCE_S), "r", principal=OWNER)
        (result,) = (await asked).results
        assert result.answer is not None
        return result.answer

    async def ask(home: Path, registry: Registry, executor: str) -> Answer:
        measures = executor == "auto" and not registry.choices
        settings = Settings(
            home=home, inference_decoders=1, inference_executor=executor, inference_measuring_s=PATIENCE_S
        )
        predictor = LocalPredictor(threads=1)
        async with service(settings, predictor=predictor, events=_no_events, http=registry.http()) as parts:
            answer = await one(parts)
            assert not measures or answer.executor.startswith("torch-eager")  # nobody waits for a measurement
            while measures and answer.executor not in "".join(map(_executor, registry.choices.values())):
                await asyncio.sleep(0.1)
                answer = await one(parts)
            return answer

    return ask


def _executor(choice: bytes) -> str:
    return ExecutorChoice.model_validate_json(choice).executor


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_measurement_ends_with_whoever_started_it(tmp_path: Path, registry: Registry) -> None:
    """kill -9 of a pod that measures."""
    measure = ["-m", "aimic.nets.executors", str(tmp_path / "made"), "--threads", "1", "--seconds", "300"]
    program = f"import subprocess, sys; subprocess.run([sys.executable, *{measure}])"

    def begun() -> bool:
        measuring = psutil.Process(pod.pid).children()
        return any("libtorch" in part.path for child in measuring for part in child.memory_maps())

    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as pod:
        try:
            until(begun)
        finally:
            pod.kill()
        assert pod.stdout is not None
        assert pod.stdout.read() == b""  # once both have ended; it would have told what it measured


@pytest.mark.anyio
@pytest.mark.timeout(900)
async def test_what_one_pod_measured_holds_for_the_next_and_for_itself_without_the_registry(
    registry: Registry, answers: Callable[..., Awaitable[Answer]], tmp_path: Path
) -> None:
    eager = await answers(tmp_path / "eager", registry, "eager")
    assert eager.executor.startswith("torch-eager") and not registry.choices

    first = await answers(tmp_path / "first", registry, "auto")
    (held,) = registry.choices.values()
    choice = ExecutorChoice.model_validate_json(held)
    assert first.executor == choice.executor
    assert choice.bundle_hash == registry.entry.bundle_hash and registry.told[0].endswith(choice.machine_class)
    admitted = [admission.executor for admission in choice.admissions if admission.admitted]
    assert {"torch-eager-fp32-cpu", "openvino-fp32-cpu"} <= set(admitted)
    assert "onnxruntime-fp32-cpu" not in admitted
    assert [timing.executor for timing in choice.timings] == admitted
    assert all((admission.largest_difference or 0) <= 1e-3 for admission in choice.admissions)
    assert first.probabilities == pytest.approx(eager.probabilities, abs=1e-5)

    # Whatever a second pod would have measured, it runs what the first one told.
    told = {**json.loads(held), "executor": "torch-export-fp32-cpu"}
    registry.choices = {path: json.dumps(told).encode() for path in registry.choices}
    second = await answers(tmp_path / "second", registry, "auto")
    assert second.executor == "torch-export-fp32-cpu" and len(registry.told) == 1

    registry.away = True
    again = await answers(tmp_path / "first", registry, "auto")
    assert again.executor == choice.executor
