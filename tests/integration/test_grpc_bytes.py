"""Streams with large messages, and ones that send nothing, over a unix socket: none takes the memory or the turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc
from pydantic import SecretStr

from aimic.domain.prediction import Answer, ImageResult, PredictResponse
from aimic.rpc.oip import open_inference_grpc_pb2 as protocol
from aimic.rpc.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceStub
from services.inference.grpc import places
from services.inference.grpc.server import GrpcServer
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio
LARGEST = 300_000
KEY = (("authorization", "Bearer secret"),)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
async def one_loop() -> AsyncIterator[None]:
    """For all tests here: what gRPC has still to say of a call that was cancelled must find the loop that made it."""
    yield


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is quiet makes room at once."""
    monkeypatch.setattr(places, "QUIET_S", 0.05)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in vain is told so soon, and so is who holds a place and sends nothing."""
    monkeypatch.setattr(places, "PATIENCE_S", 0.4)
    monkeypatch.setattr(places, "UPLOAD_S", 0.2)


class Plane:
    """Holds every request until it may answer, and says how many it ever held."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.held = self.most = self.asked = 0

    async def predict(self, model: str, _: Any, images: list[Any], *__: Any, **___: Any) -> PredictResponse:
        self.asked += 1
        self.held += 1
        self.most = max(self.most, self.held)
        try:
            await self.may_answer.wait()
        finally:
            self.held -= 1
        answer = Answer(
            label="x",
            probabilities={"x": 1.0},
            abstained=False,
            reason=None,
            class_mix="m",
            model=model,
            version=1,
            bundle_hash="h",
            executor="e",
            request_id="r",
        )
        results = tuple(ImageResult(index=index, answer=answer) for index, _ in enumerate(images))
        return PredictResponse(model=model, version=1, request_id="r", results=results)


@asynccontextmanager
async def served(plane: Plane, home: Path, **more: Any) -> AsyncIterator[grpc.aio.Channel]:
    settings = Settings(home=home, inference_request_bytes=LARGEST, **more)
    server = GrpcServer(settings, plane, f"unix:{home}/s")  # type: ignore[arg-type] # what it needs of one
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel
    await server.stop(1)


def asking(size: int) -> wire.PredictRequest:
    return wire.PredictRequest(model="cells", images=[wire.Image(data=bytes(size))])


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_two_hundred_streams_of_large_messages_are_taken_in_turn(tmp_path: Path) -> None:
    plane = Plane()
    async with served(plane, tmp_path, inference_body_bytes=4 * LARGEST) as channel:
        stub = InferenceStub(channel)

        async def stream() -> int:
            asks = (wire.PredictStreamRequest(request=asking(250_000)) for _ in range(2))
            return len([reply async for reply in stub.PredictStream(asks, timeout=120)])

        streams = [asyncio.create_task(stream()) for _ in range(200)]
        await until(lambda: plane.held == 4)
        plane.may_answer.set()
        assert sum(await asyncio.gather(*streams)) == 400
    assert plane.most <= 4 and plane.asked == 400


async def test_quiet_streams_make_room_for_a_call(tmp_path: Path) -> None:
    plane = Plane()
    plane.may_answer.set()
    async with served(plane, tmp_path, inference_body_bytes=2 * LARGEST) as channel:
        stub = InferenceStub(channel)
        quiet = [stub.PredictStream(timeout=60) for _ in range(2)]
        for call in quiet:  # each is known to wait for its next message, since the last one is answered
            await call.write(wire.PredictStreamRequest(request=asking(10)))
            assert (await call.read()).WhichOneof("outcome") == "reply"
        assert (await stub.Predict(asking(250_000), timeout=60)).model == "cells"
        await until(lambda: any(call.done() for call in quiet))
        ended = next(call for call in quiet if call.done())
        assert await ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailing = dict(await ended.trailing_metadata())
        assert (trailing["retry-after"], trailing["grpc-retry-pushback-ms"]) == ("1", "1000")
        assert trailing["x-request-id"]
        assert "Nothing came from you" in wire.Problem.FromString(trailing["aimic-problem-bin"]).message
        for call in quiet:
            call.cancel()


@pytest.mark.usefixtures("impatient")
async def test_who_has_no_key_takes_no_place_from_those_who_have_one(tmp_path: Path) -> None:
    plane = Plane()
    plane.may_answer.set()
    more = {"inference_body_bytes": LARGEST, "api_key": SecretStr("secret")}
    async with served(plane, tmp_path, **more) as channel:
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        unknown = [reflection.ServerReflectionInfo(timeout=60) for _ in range(10)]
        await asyncio.gather(*(call.wait_for_connection() for call in unknown[:2]))
        stub = InferenceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Predict(asking(10), timeout=60)
        assert refused.value.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert (await stub.Predict(asking(250_000), timeout=60, metadata=KEY)).model == "cells"
        # Nobody is kept waiting without an end: those without a key would fill all connections.
        await until(lambda: sum(call.done() for call in unknown) >= 8)
        codes = [await call.code() for call in unknown if call.done()]
        assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        for call in unknown:
            call.cancel()


async def test_health_is_told_while_streams_wait_that_send_nothing(tmp_path: Path) -> None:
    async with served(Plane(), tmp_path, inference_body_bytes=LARGEST) as channel:
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        idle = [reflection.ServerReflectionInfo(timeout=120) for _ in range(10)]
        await asyncio.gather(*(call.wait_for_connection() for call in idle))
        asked = health_pb2.HealthCheckRequest()
        watch = health_pb2_grpc.HealthStub(channel).Watch(asked, timeout=60)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for _ in range(3):  # in less than it takes until who is silent has to go
            await health_pb2_grpc.HealthStub(channel).Check(asked, timeout=places.UPLOAD_S - 1)
        assert (await GRPCInferenceServiceStub(channel).ServerLive(protocol.ServerLiveRequest(), timeout=4)).live
        large = health_pb2.HealthCheckRequest(service="x" * 100_000)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health_pb2_grpc.HealthStub(channel).Check(large, timeout=60)
        assert "65536 bytes at most" in (refused.value.details() or "")
        for call in (*idle, watch):
            call.cancel()


async def test_what_is_no_message_is_refused_in_words(tmp_path: Path) -> None:
    async with served(Plane(), tmp_path) as channel:
        call = channel.unary_unary("/aimic.rpc.v1.Inference/Predict", None, None)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"\xff\xff\xff", timeout=60, metadata=(("x-request-id", "mine"),))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        trailing: Any = refused.value.trailing_metadata()
        problem = wire.Problem.FromString(dict(trailing)["aimic-problem-bin"])
        assert (problem.code, problem.request_id) == ("invalid_input", "mine")


@pytest.mark.parametrize("size", [2 * LARGEST, 40 * LARGEST])
async def test_a_small_message_that_unpacks_to_a_large_one_is_refused(tmp_path: Path, size: int) -> None:
    plane = Plane()
    async with served(plane, tmp_path) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await InferenceStub(channel).Predict(asking(size), timeout=60, compression=grpc.Compression.Gzip)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert plane.asked == 0
