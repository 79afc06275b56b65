"""The inference service as a process: REST and gRPC give the same answers; it survives its registry; it stops."""

import http.server
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceStub
from tests import pods
from tests.pods import CLASSES, Pod, export, picture

HasEnded = Callable[[psutil.Process], bool]
SERVICE = "aimic.rpc.v1.Inference"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An exported bundle and its hash."""
    return export(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def registry(exported: tuple[Path, str]) -> Iterator[http.server.ThreadingHTTPServer]:
    """Shut it down to see it away."""
    with pods.registry(*exported) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path, registry: http.server.ThreadingHTTPServer) -> Iterator[Callable[..., Pod]]:
    started: list[Pod] = []

    def launch(**environment: str) -> Pod:
        started.append(Pod(tmp_path / "home", pods.address(registry), **environment))
        return started[-1]

    yield launch
    for process in started:
        process.stop()


def test_rest_and_grpc_give_the_same_answers(start: Callable[..., Pod], exported: Any) -> None:
    process = start().wait()
    images = [picture(number) for number in range(3)]
    rest = process.ask(*images, **{"x-request-id": "abc"}).json()
    with process.channel() as channel:
        request = wire.PredictRequest(model="cells", images=[wire.Image(data=data) for data in images])
        reply, call = InferenceStub(channel).Predict.with_call(request, metadata=(("x-request-id", "abc"),), timeout=30)
    assert reply.request_id == rest["request_id"] == "abc"
    assert dict(call.trailing_metadata())["x-request-id"] == "abc"
    for one, other in zip(rest["results"], reply.results, strict=True):
        said = {pair.label: pair.probability for pair in other.answer.probabilities}
        assert list(said) == list(CLASSES)
        assert said == pytest.approx(one["answer"]["probabilities"], abs=1e-5)
        assert other.answer.label == one["answer"]["label"]
        assert other.answer.bundle_hash == one["answer"]["bundle_hash"] == exported[1]
        assert other.answer.executor == one["answer"]["executor"]
    assert process.stop() < 8
    assert process.process.returncode == 0, process.log.read_text()


def test_a_restart_serves_without_the_registry_and_metrics_say_so(
    start: Callable[..., Pod], registry: http.server.ThreadingHTTPServer
) -> None:
    start().wait().stop()
    registry.shutdown()
    registry.socket.close()
    process = start().wait()
    assert process.ask(picture(1)).status_code == 200
    metrics = httpx.get(f"http://127.0.0.1:{process.ops}/metrics").text
    assert 'aimic_inference_server_up{server="ingest"} 0.0' in metrics
    assert "aimic_inference_models_loaded 1.0" in metrics
    for step in ("decode", "queue", "compute", "total"):
        assert f'aimic_inference_{step}_seconds_bucket{{le="0.001",model="cells",version="1"}}' in metrics


def test_health_reflection_and_permission(start: Callable[..., Pod]) -> None:
    process = start(AIMIC_API_KEY="secret").wait()
    with process.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE):
            watch = health.Watch(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert any(now.status == health_pb2.HealthCheckResponse.SERVING for now in watch)
        wish = reflection_pb2.ServerReflectionRequest(list_services="")
        replies = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([wish]), timeout=10)
        names = {service.name for service in next(replies).list_services_response.service}
        assert {SERVICE, "grpc.health.v1.Health"} <= names

        stub = InferenceStub(channel)
        request = wire.PredictRequest(model="cells", images=[wire.Image(data=picture(1))])
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(request, timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", "Bearer secret"),)
        assert stub.Predict(request, timeout=10, metadata=metadata).results[0].answer.label
        stream = stub.PredictStream(iter([wire.PredictStreamRequest(request=request)]), timeout=10)
        with pytest.raises(grpc.RpcError) as refused:
            next(stream)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_what_was_taken_is_finished_before_it_ends(start: Callable[..., Pod]) -> None:
    # Time enough for all of them on a machine that does other things too.
    process = start(AIMIC_INFERENCE_STOP_S="60", AIMIC_INFERENCE_DECODE_S="60").wait()
    answers: list[httpx.Response] = []
    images = [picture(number) for number in range(100)]
    caller = threading.Thread(target=lambda: answers.append(process.ask(*images)))
    children = psutil.Process(process.process.pid).children()
    (decoder,) = [child for child in children if "services.inference.decode_worker" in child.cmdline()]
    decoder.suspend()  # none of them is answered before all have been taken, and the end was asked for
    caller.start()
    end = time.monotonic() + 60
    while "images_in_flight 100.0" not in _operations(process, "metrics"):
        assert time.monotonic() < end and caller.is_alive()
        time.sleep(0.05)
    process.process.send_signal(signal.SIGTERM)
    while "stopping" not in _operations(process, "readyz"):
        assert time.monotonic() < end
        time.sleep(0.05)
    decoder.resume()
    process.stop()
    caller.join()
    assert answers[0].status_code == 200 and len(answers[0].json()["results"]) == 100


def _operations(process: Pod, path: str) -> str:
    return httpx.get(f"http://127.0.0.1:{process.ops}/{path}", timeout=30).text


def test_no_process_stays_behind_when_it_is_killed(start: Callable[..., Pod], has_ended: HasEnded) -> None:
    process = start().wait()
    children = psutil.Process(process.process.pid).children()
    assert children
    process.stop(signal.SIGKILL)
    end = time.monotonic() + 60
    while not all(map(has_ended, children)):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_refuses_an_open_bind_without_a_key(start: Callable[..., Pod]) -> None:
    process = start(AIMIC_HOST="0.0.0.0")
    assert process.process.wait(120) != 0
    assert "without a key" in process.log.read_text()


def test_a_grpc_port_that_faces_the_network_needs_a_key_too(start: Callable[..., Pod]) -> None:
    process = start(AIMIC_INFERENCE_GRPC_HOST="0.0.0.0")
    assert process.process.wait(120) != 0
    assert "Refusing to listen on 0.0.0.0 without a key" in process.log.read_text()


def test_each_face_listens_at_its_own_address_only(start: Callable[..., Pod]) -> None:
    process = start(AIMIC_HOST="127.0.0.2", AIMIC_INFERENCE_GRPC_HOST="127.0.0.3", AIMIC_API_KEY="secret").wait()
    ports = (process.ops, process.rest, process.grpc)
    found = {(host, port) for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3") for port in ports if _open(host, port)}
    assert found == {("127.0.0.1", process.ops), ("127.0.0.2", process.rest), ("127.0.0.3", process.grpc)}


def _open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_a_taken_grpc_port_is_said_in_words(start: Callable[..., Pod]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(AIMIC_INFERENCE_GRPC_PORT=str(taken.getsockname()[1]))
        assert process.process.wait(120) != 0
    assert "can't listen" in process.log.read_text()
