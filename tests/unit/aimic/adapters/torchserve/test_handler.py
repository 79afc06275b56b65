"""The handler, run by TorchServe's own worker code without its front."""

import importlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aimic.adapters.torchserve import archive
from aimic.adapters.torchserve.ground import Ground, Settings
from aimic.nets.executors.kinds import eager_on
from aimic.nets.package import check_inputs
from aimic.nets.runner import best_device
from aimic.nets.statefile import load_safetensors
from tests.serving.torchserve_scene import SIZE, bundle

AS_PROMISED = {archive.PROMISED: eager_on(best_device().type).name}
# TorchServe leaves files open.
pytestmark = [
    pytest.mark.filterwarnings(rf"ignore:.*{name}:pytest.PytestUnraisableExceptionWarning")
    for name in (r"metrics\.yaml", r"ts/version\.txt")
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("bundle") / "one"
    return directory, bundle(directory)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, metrics, threads = logging.getLogger(), logging.getLogger("ts.metrics"), torch.get_num_threads()
    levels = root.level, metrics.level
    yield
    root.setLevel(levels[0])
    metrics.setLevel(levels[1])
    torch.set_num_threads(threads)


class Worker:
    """What TorchServe's worker does with an archive."""

    def __init__(self, directory: Path, name: str, ground: Ground) -> None:
        cache = importlib.import_module("ts.metrics.metric_cache_yaml_impl").MetricsCacheYamlImpl
        metrics = cache(config_file_path=str(ground.directory / "metrics.yaml"))
        metrics.initialize_cache()
        metrics.model_name = name
        loader = importlib.import_module("ts.model_loader").TsModelLoader()
        self._service: Any = loader.load(name, str(directory), archive.HANDLER, None, 1, None, True, metrics)
        self._service.set_cl_socket(None)

    def ask(self, body: bytes, **headers: str) -> tuple[int, bytes]:
        """The status and the body of its answer, cut out of TorchServe's frame."""
        named = [{"name": name.encode(), "value": value.encode()} for name, value in headers.items()]
        parameters = [{"name": "body", "value": bytearray(body), "contentType": "application/octet-stream"}]
        request = {"requestId": b"r", "headers": named, "parameters": parameters if body else []}
        frame = bytes(self._service.predict([request]))
        return _cut(frame)


def _cut(frame: bytes) -> tuple[int, bytes]:
    at = 0

    def number() -> int:
        nonlocal at
        at += 4
        return int.from_bytes(frame[at - 4 : at], "big", signed=True)

    def text() -> bytes:
        nonlocal at
        length = number()
        at += length
        return frame[at - length : at]

    number(), text(), text(), text()  # whole status, message, request id, content type
    status = number()
    text()
    for _ in range(number()):
        text(), text()
    return status, text()


@pytest.fixture
def ground() -> Iterator[Ground]:
    made = Ground(Settings(threads=1))
    yield made
    made.remove()


@pytest.fixture
def worker(model: tuple[Path, str], ground: Ground) -> Worker:
    return Worker(archive.build(*model, ground.store, 1, None), model[1], ground)


def test_it_describes_its_model(worker: Worker, model: tuple[Path, str]) -> None:
    status, body = worker.ask(b"", **{archive.ASK: "description"})
    said = json.loads(body)
    assert status == 200 and said["bundle_hash"] == model[1] and said["image_size"] == SIZE
    assert len(said["classes"]) == 4 and said["executor"].startswith("torch") and said["memory_bytes"] > 0


def test_a_whole_batch_is_one_request(worker: Worker, model: tuple[Path, str]) -> None:
    status, body = worker.ask(check_inputs(SIZE).tobytes(), **AS_PROMISED)
    expected = load_safetensors(model[0] / "check.safetensors")["logits"].numpy()
    assert status == 200
    np.testing.assert_allclose(np.frombuffer(body, "<f4").reshape(32, 4), expected, atol=1e-3)


def test_it_runs_with_the_executor_that_was_chosen(model: tuple[Path, str], ground: Ground) -> None:
    made = archive.build(*model, ground.store, 1, "torch-export-fp32-cpu")
    _, body = Worker(made, model[1], ground).ask(b"", **{archive.ASK: "description"})
    assert json.loads(body)["executor"] == "torch-export-fp32-cpu"


@pytest.mark.parametrize("promised", [{archive.PROMISED: "openvino-fp32-cpu"}, {}])
def test_it_gives_no_answer_that_names_another_executor(worker: Worker, promised: dict[str, str]) -> None:
    """TorchServe may have started it in the place of one that ran that; nor an answer of which nobody said so."""
    status, body = worker.ask(check_inputs(SIZE)[:1].tobytes(), **promised)
    assert status == 409 and json.loads(body)["code"] == "conflict"


def test_other_bytes_are_an_error_of_ours(worker: Worker) -> None:
    status, body = worker.ask(b"x" * 100, **AS_PROMISED)
    assert status == 422 and json.loads(body)["code"] == "invalid_input"


def test_a_refused_bundle_says_why(model: tuple[Path, str], ground: Ground) -> None:
    """Its worker stays: TorchServe would start it again and again."""
    made = archive.build(*model, ground.store, 1, None)
    weights = made / "bundle/weights/0.safetensors"
    data = bytearray(weights.read_bytes())
    weights.unlink()  # it is a link to the bundle's own
    data[-1] ^= 1
    weights.write_bytes(data)
    worker = Worker(made, model[1], ground)
    for headers in ({archive.ASK: "description"}, AS_PROMISED):
        status, body = worker.ask(check_inputs(SIZE)[:1].tobytes(), **headers)
        assert status == 422 and json.loads(body)["code"] == "corrupt"


def test_another_model_than_it_says_is_refused(model: tuple[Path, str], ground: Ground) -> None:
    made = archive.build(model[0], "cd" * 32, ground.store, 1, None)
    status, body = Worker(made, "cd" * 32, ground).ask(b"", **{archive.ASK: "description"})
    assert status == 422 and "another model" in json.loads(body)["message"]
