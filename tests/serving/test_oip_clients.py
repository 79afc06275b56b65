"""Existing clients of the Open Inference Protocol run unchanged, in processes of their own, against our service."""

import base64
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from PIL import Image

from aimic.rpc.oip import open_inference_grpc_pb2 as wire
from aimic.rpc.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from tests.pods import CLASSES, Pod, address, export, registry

ROOT = Path(__file__).parents[2]
SERVICE = "inference.GRPCInferenceService"
KEY = "secret"
LIMIT = 4 * 2**20
LONG = 20
"""So often the pictures are sent together in the cases that say so."""
CHOSEN = {"chosen outputs", "JSON out"}
"""The cases that ask for labels and probabilities only."""


@pytest.fixture(scope="session")
def clients() -> str:
    """The Python that has the clients: they want another protobuf than we do."""
    script = ROOT / "scripts" / "oip_clients.sh"
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run([str(script)], env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    settings = {"AIMIC_API_KEY": KEY, "AIMIC_INFERENCE_REQUEST_BYTES": str(LIMIT)}
    with (
        registry(*export(tmp_path_factory.mktemp("bundle"))) as server,
        Pod(tmp_path_factory.mktemp("home"), address(server), **settings) as pod,
    ):
        yield pod


class Question:
    """Three pictures of the network's own size, and what the service says of them by its own REST."""

    def __init__(self, running: Pod) -> None:
        self.files = [_picture(number) for number in range(3)]
        decoded = [np.asarray(Image.open(io.BytesIO(data))) for data in self.files]
        self.job = {
            "rest": f"127.0.0.1:{running.rest}",
            "grpc": f"127.0.0.1:{running.grpc}",
            "key": KEY,
            "files": [base64.b64encode(data).decode() for data in self.files],
            "pixels": np.stack(decoded).tolist(),
        }
        answer = httpx.post(
            f"http://127.0.0.1:{running.rest}/inference/v1/models/cells/predict",
            files=[("images", (f"{number}.png", data)) for number, data in enumerate(self.files)],
            headers={"authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        self.answers = [result["answer"] for result in answer.json()["results"]]
        assert len(self.answers) == len(self.files)

    def ask(self, python: str, program: str) -> dict[str, Any]:
        """What a program of tests/serving/oip found out."""
        command = [python, "-m", f"tests.serving.oip.{program}"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            input=json.dumps(self.job),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def is_answered(self, found: dict[str, Any], case: str = "") -> None:
        """Every output that was asked for says what our own REST says, image by image, however often they were sent."""
        expected = self.answers * (LONG if case.endswith("long") else 1)
        assert found["label"] == [answer["label"] for answer in expected], case
        for said, answer in zip(found["probabilities"], expected, strict=True):
            assert said == pytest.approx([answer["probabilities"][label] for label in CLASSES], abs=1e-5), case
        others = {
            "abstained": [False] * len(expected),
            "reason": [""] * len(expected),
            "classes": list(CLASSES),
        }
        came = {name: found[name] for name in others}
        assert came == (dict.fromkeys(others) if case in CHOSEN else others), case


def _picture(number: int) -> bytes:
    blocks = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blocks).resize((64, 64)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def question(running: Pod) -> Question:
    return Question(running)


OUTPUTS = {"label": [-1], "probabilities": [-1, 3], "abstained": [-1], "reason": [-1], "classes": [3]}


def knows_the_server(found: dict[str, Any]) -> None:
    """Liveness, readiness and metadata, as a client gave them."""
    assert found["live"] is True and found["ready"] is True and found["model ready"] is True
    assert found["server"]["name"] == "aimic" and found["server"]["version"]
    assert found["server"]["extensions"] == ["binary_tensor_data", "classification"]
    model = found["model"]
    assert (model["name"], model["versions"], model["platform"]) == ("cells", ["1"], "aimic_bundle")
    assert {tensor["name"]: tensor["datatype"] for tensor in model["inputs"]} == {"images": "BYTES", "pixels": "UINT8"}
    # gRPC's JSON writes 64-bit numbers as text.
    assert {tensor["name"]: [int(size) for size in tensor["shape"]] for tensor in model["outputs"]} == OUTPUTS


def ranked(question: Question) -> list[list[str]]:
    """The two most probable classes of each picture, as the extension `classification` writes them."""
    found = []
    for answer in question.answers:
        best = sorted(range(3), key=lambda at: -answer["probabilities"][CLASSES[at]])[:2]
        found.append([f"{at}:{CLASSES[at]}" for at in best])
    return found


def test_tritons_http_clients(question: Question, clients: str) -> None:
    found = question.ask(clients, "triton_http")
    blocking = found["blocking"]
    knows_the_server(blocking)
    assert blocking["version ready"] is True and blocking["unknown ready"] is False
    assert len(blocking["answers"]) == 16
    for case, said in blocking["answers"].items():
        question.is_answered(said, case)
    said = blocking["answers"]["binary"]["said"]
    assert (said["model_name"], said["model_version"], said["id"]) == ("cells", "1", "mine")
    assert said["parameters"]["bundle_hash"] == question.answers[0]["bundle_hash"]
    chosen = blocking["answers"]["chosen outputs"]["said"]["outputs"]
    assert [output["name"] for output in chosen] == ["probabilities", "label"]
    assert all("binary_data_size" in output["parameters"] for output in chosen)
    assert all("data" in output for output in blocking["answers"]["JSON out"]["said"]["outputs"])
    assert [[text.partition(":")[2] for text in row] for row in blocking["ranked"]] == ranked(question)
    statuses = {case: status for case, (status, _) in blocking["refusals"].items()}
    assert statuses == {
        "bad image": "400",
        "unknown model": "404",
        "unknown version": "404",
        "unknown output": "400",
        "no key": "401",
        "no time": "504",
        "another extension": "404",
    }
    assert blocking["refusals"]["bad image"][1].startswith("Image 1 (counted from 0) of 3: ")
    assert "no output 'scores'" in blocking["refusals"]["unknown output"][1]

    knows_the_server(found["asyncio"])
    assert found["asyncio"]["answers"].keys() == {"binary", "pixels", "gzip, long"}
    for case, said in found["asyncio"]["answers"].items():
        question.is_answered(said, case)
    assert found["asyncio"]["bad image"][0] == "400"


def test_tritons_grpc_clients(question: Question, clients: str) -> None:
    found = question.ask(clients, "triton_grpc")
    blocking = found["blocking"]
    for way in ("blocking", "asyncio"):
        knows_the_server(found[way])
        for case, said in found[way]["answers"].items():
            question.is_answered(said, case)
    assert len(blocking["answers"]) == 9 and blocking["version ready"] is True
    assert found["asyncio"]["answers"].keys() == {"raw", "pixels", "gzip"}
    said = blocking["answers"]["raw"]["said"]
    assert (said["model_name"], said["model_version"], said["id"]) == ("cells", "1", "mine")
    assert said["parameters"]["bundle_hash"]["string_param"] == question.answers[0]["bundle_hash"]
    chosen = blocking["answers"]["chosen outputs"]["said"]["outputs"]
    assert [output["name"] for output in chosen] == ["probabilities", "label"]
    assert [[text.partition(":")[2] for text in row] for row in blocking["ranked"]] == ranked(question)
    statuses = {case: status for case, (status, _) in blocking["refusals"].items()}
    assert statuses == {
        "bad image": "StatusCode.INVALID_ARGUMENT",
        "unknown model": "StatusCode.NOT_FOUND",
        "unknown version": "StatusCode.NOT_FOUND",
        "unknown output": "StatusCode.INVALID_ARGUMENT",
        "no key": "StatusCode.UNAUTHENTICATED",
        "no time": "StatusCode.DEADLINE_EXCEEDED",
        "no time for the client": "StatusCode.DEADLINE_EXCEEDED",
        "another extension": "StatusCode.UNIMPLEMENTED",
        "unknown ready": "StatusCode.NOT_FOUND",
    }
    assert blocking["refusals"]["bad image"][1].startswith("Image 1 (counted from 0) of 3: ")
    assert found["asyncio"]["bad image"][0] == "StatusCode.INVALID_ARGUMENT"


def test_the_clients_generated_from_the_specification(question: Question, clients: str) -> None:
    found = question.ask(clients, "generated")
    rest = found["rest"]
    knows_the_server(rest | {"live": True, "ready": True, "model ready": True})  # they raise when it isn't so
    assert rest["id"] == "mine"
    assert rest["refused"][0] == 400 and "0 inputs" in rest["refused"][1]["error"]
    assert rest["answers"].keys() == {"JSON", "chosen outputs", "pixels"}
    for case, said in rest["answers"].items():
        question.is_answered(said, case)
    question.is_answered(found["rest, asyncio"])
    assert found["grpc"]["live"] is True and found["grpc"]["ready"] is True
    assert found["grpc"]["answers"].keys() == {"typed", "typed pixels"}
    for case, said in found["grpc"]["answers"].items():
        question.is_answered(said, case)


_BOTH = """
import sys
from services.inference.grpc.server import GrpcServer
from aimic.rpc.oip import open_inference_grpc_pb2 as ours
sys.path.append(sys.argv[1])  # behind ours: the packages that both need are our versions
from tritonclient.grpc import InferInput, service_pb2 as theirs
import numpy
assert ours.ModelInferRequest.DESCRIPTOR.full_name == theirs.ModelInferRequest.DESCRIPTOR.full_name
assert ours.ModelInferRequest is not theirs.ModelInferRequest
asked = theirs.ModelInferRequest(model_name="cells", raw_input_contents=[b"x"])
asked.inputs.extend([InferInput("images", [1], "BYTES")._get_tensor()])
assert ours.ModelInferRequest.FromString(asked.SerializeToString()).inputs[0].name == "images"
print("both")
"""


def test_a_client_and_our_server_can_share_a_process(clients: str) -> None:
    place = next((Path(clients).parents[1] / "lib").glob("python*/site-packages"))
    command = [sys.executable, "-c", _BOTH, str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "both", done.stderr


def test_health_and_reflection_know_the_protocol(running: Pod) -> None:
    with running.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=20)
        assert any(now.status == health_pb2.HealthCheckResponse.SERVING for now in watch)
        wishes = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="aimic.rpc.v1.Inference"),
        ]
        asks = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        listed, protocol, own = asks(iter(wishes), timeout=20)
    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE, "aimic.rpc.v1.Inference", "grpc.health.v1.Health"} <= names
    assert protocol.file_descriptor_response.file_descriptor_proto == [wire.DESCRIPTOR.serialized_pb]
    assert own.file_descriptor_response.file_descriptor_proto


def test_a_bomb_is_refused_and_takes_no_memory(running: Pod) -> None:
    before = _peak(running.process.pid)
    size = 256 * 2**20
    headers = {"authorization": f"Bearer {KEY}", "content-encoding": "gzip"}
    bomb = gzip.compress(bytes(size), 9)
    assert len(bomb) < 2**20
    answer = httpx.post(
        f"http://127.0.0.1:{running.rest}/v2/models/cells/infer", content=bomb, headers=headers, timeout=60
    )
    assert (answer.status_code, list(answer.json())) == (413, ["error", "code", "request_id"])
    with running.channel() as channel:
        asks = wire.ModelInferRequest(model_name="cells", raw_input_contents=[bytes(size)])
        with pytest.raises(grpc.RpcError) as refused:
            GRPCInferenceServiceStub(channel).ModelInfer(asks, compression=grpc.Compression.Gzip, timeout=120)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert _peak(running.process.pid) - before < size // 4


def _peak(pid: int) -> int:
    """Bytes of memory that a process ever had at once; Linux keeps it, so nothing is missed between two looks."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
