"""The gRPC shell over a unix socket: streams, deadlines, errors with their details, limits."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from aimic.adapters.local_predictor import LocalPredictor
from aimic.errors import UnavailableError
from aimic.nets import bundle
from aimic.nets.package import Training, package
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from aimic.ports.events import Events
from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceStub
from services.inference.app import Service, service
from services.inference.catalogue import Model
from services.inference.grpc.server import GrpcServer
from services.inference.lane import Account
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio
CLASSES = ("round", "lobed")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(number: int) -> bytes:
    blocks = np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blocks).resize((90, 80)).save(out, "PNG")
    return out.getvalue()


def registry(directory: Path) -> httpx.AsyncClient:
    """A registry with one model."""
    net = build("shufflenet_v2_x1_0", len(CLASSES), 64, Weights.none(), seed=1)
    training = Training(
        classes=CLASSES,
        manifest_hash="ab" * 32,
        membership=(),
        split={},
        settings={},
        metrics={},
        class_mix=(1, 1),
    )
    digest = package(directory / "made", net, training)
    bundle.export(directory / "made", directory / "file")
    entry = {"name": "cells", "version": 1, "bundle_hash": digest, "stage": "serving", "bundle_url": "/bundle"}

    async def serving(_: Request) -> Response:
        return JSONResponse({"items": [entry]})

    async def file(_: Request) -> Response:
        return FileResponse(directory / "file")

    app = Starlette(routes=[Route("/api/v1/serving", serving), Route("/bundle", file)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://registry")


def no_events() -> Events:
    raise UnavailableError("no broker here")


@pytest.fixture(scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(
        home=home,
        inference_decoders=1,
        inference_image_bytes=100_000,
        inference_request_bytes=300_000,
        inference_queue_images=40,
    )
    http = registry(tmp_path_factory.mktemp("registry"))
    async with service(settings, predictor=LocalPredictor(threads=1), events=no_events, http=http) as parts:
        async with asyncio.timeout(120):
            while parts.reconciler.not_ready() is not None:
                await asyncio.sleep(0.01)
        yield parts


@pytest.fixture(scope="module")
async def stub(parts: Service, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    server = GrpcServer(parts.settings, parts.plane, f"unix:{tmp_path_factory.mktemp('s')}/grpc.sock")
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield InferenceStub(channel)
    await server.stop(1)


def request_of(*images: bytes, model: str = "cells", version: int | None = None) -> wire.PredictRequest:
    sent = [wire.Image(name=f"{number}.png", data=data) for number, data in enumerate(images)]
    return wire.PredictRequest(model=model, version=version, images=sent)


def trailing_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    metadata: Any = error.trailing_metadata()
    return dict(metadata)


async def refused(call: Any) -> tuple[grpc.StatusCode, wire.Problem, dict[str, Any]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailing = trailing_of(caught.value)
    problem = wire.Problem.FromString(trailing.get("aimic-problem-bin", b""))
    return caught.value.code(), problem, trailing


async def test_answers_come_in_order_with_errors_in_their_places(stub: Any) -> None:
    reply = await stub.Predict(request_of(picture(1), b"no image", picture(2)), timeout=20)
    assert [result.WhichOneof("outcome") for result in reply.results] == ["answer", "problem", "answer"]
    assert [(result.index, result.name) for result in reply.results] == [(n, f"{n}.png") for n in range(3)]
    assert reply.results[1].problem.code == "unreadable_image"
    answer = reply.results[0].answer
    assert [pair.label for pair in answer.probabilities] == list(CLASSES)
    assert sum(pair.probability for pair in answer.probabilities) == pytest.approx(1)
    assert answer.HasField("label") and not answer.HasField("reason")
    assert (reply.model, reply.version, answer.version) == ("cells", 1, 1)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (request_of(b"no image"), grpc.StatusCode.INVALID_ARGUMENT, "unreadable_image"),
        (request_of(), grpc.StatusCode.INVALID_ARGUMENT, "invalid_input"),
        (request_of(b"x", model="others"), grpc.StatusCode.NOT_FOUND, "not_found"),
        (request_of(b"x", version=9), grpc.StatusCode.NOT_FOUND, "not_found"),
        (request_of(b"x" * 150_000), grpc.StatusCode.RESOURCE_EXHAUSTED, "too_large"),
    ],
)
async def test_errors_have_a_code_and_say_what_happened(
    stub: Any, request_: wire.PredictRequest, status: grpc.StatusCode, code: str
) -> None:
    metadata = (("x-request-id", "mine"),)
    found, problem, trailing = await refused(stub.Predict(request_, timeout=20, metadata=metadata))
    assert (found, problem.code) == (status, code)
    assert problem.message and problem.request_id == trailing["x-request-id"] == "mine"


async def test_a_message_beyond_the_limit_is_refused_by_grpc(stub: Any) -> None:
    status, _, _ = await refused(stub.Predict(request_of(b"x" * 400_000), timeout=20))
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_calls_deadline_ends_it(stub: Any, parts: Service) -> None:
    async with model_of(parts).batcher._lane.turn(Account()):  # the network is held: no answer can come sooner
        status, _, _ = await refused(stub.Predict(request_of(*map(picture, range(30))), timeout=0.02))
    assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    await at_rest(parts)


async def test_a_cancelled_call_stops_costing(stub: Any, parts: Service) -> None:
    call = stub.Predict(request_of(*map(picture, range(30))), timeout=20)
    async with asyncio.timeout(20):
        while not parts.plane._admission._images:
            await asyncio.sleep(0)
    call.cancel()
    await at_rest(parts)


async def test_overload_says_when_to_come_again(stub: Any, parts: Service) -> None:
    images = [picture(1)] * 30

    async def call() -> Any:
        return await stub.Predict(request_of(*images), timeout=60)

    # With the network held, none of them is answered before all of them have come.
    async with model_of(parts).batcher._lane.turn(Account()):
        calls = [asyncio.create_task(call()) for _ in range(3)]
        async with asyncio.timeout(20):
            while sum(each.done() for each in calls) < 2:
                await asyncio.sleep(0.01)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert len(errors) == 2
    for error in errors:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailing = trailing_of(error)
        assert int(trailing["retry-after"]) >= 1
        assert wire.Problem.FromString(trailing["aimic-problem-bin"]).retry_after_seconds >= 1


async def test_a_stream_answers_each_request_in_order_and_survives_bad_ones(stub: Any) -> None:
    async def requests() -> AsyncIterator[wire.PredictStreamRequest]:
        for number in range(20):
            data = b"no image" if number % 5 == 3 else picture(number)
            yield wire.PredictStreamRequest(correlation_id=f"c{number}", request=request_of(data))
        yield wire.PredictStreamRequest(correlation_id="c20", request=request_of(b"x", model="others"))

    call = stub.PredictStream(requests(), timeout=60, metadata=(("x-request-id", "s"),))
    replies = [reply async for reply in call]
    assert [reply.correlation_id for reply in replies] == [f"c{number}" for number in range(21)]
    for number, reply in enumerate(replies):
        bad = number % 5 == 3 or number == 20
        assert reply.WhichOneof("outcome") == ("problem" if bad else "reply")
    assert replies[20].problem.code == "not_found"
    assert (replies[0].reply.request_id, replies[20].problem.request_id) == ("s.1", "s.21")
    alone = await stub.Predict(request_of(picture(7)), timeout=20)
    one, other = alone.results[0].answer, replies[7].reply.results[0].answer
    for a, b in zip(one.probabilities, other.probabilities, strict=True):
        assert a.probability == pytest.approx(b.probability, abs=1e-5)


async def test_a_request_of_a_stream_has_a_deadline_of_its_own(stub: Any) -> None:
    slow = wire.PredictStreamRequest(request=request_of(*map(picture, range(30))), deadline_milliseconds=1)
    quick = wire.PredictStreamRequest(request=request_of(picture(1)))
    replies = [reply async for reply in stub.PredictStream(iter([slow, quick]), timeout=20)]
    assert replies[0].problem.code == "deadline"
    assert replies[1].WhichOneof("outcome") == "reply"


async def test_a_conversation_is_answered_as_it_goes(stub: Any) -> None:
    call = stub.PredictStream(timeout=20)
    for number in range(3):
        await call.write(wire.PredictStreamRequest(correlation_id=str(number), request=request_of(picture(number))))
        assert (await call.read()).correlation_id == str(number)
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_a_caller_who_leaves_a_stream_stops_costing(stub: Any, parts: Service) -> None:
    call = stub.PredictStream(timeout=20)
    await call.write(wire.PredictStreamRequest(request=request_of(*map(picture, range(30)))))
    async with asyncio.timeout(20):
        while not parts.plane._admission._images:
            await asyncio.sleep(0)
    call.cancel()
    await at_rest(parts)


def model_of(parts: Service) -> Model:
    model = parts.plane.catalogue.resolve("local", "cells", 1).model
    assert model is not None
    return model


async def at_rest(parts: Service) -> None:
    """Nothing is in flight, soon."""
    model = model_of(parts)
    async with asyncio.timeout(20):
        while parts.plane._admission._images or model.in_use or model.batcher._coming():
            await asyncio.sleep(0.01)
