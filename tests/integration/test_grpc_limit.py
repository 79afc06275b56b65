"""More gRPC calls at once than are taken: told why and when to come again, and counted; whoever is in stays in."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from aimic.errors import OverloadedError
from aimic.rpc.oip import open_inference_grpc_pb2 as protocol
from aimic.rpc.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceStub
from services.inference.dataplane import DataPlane
from services.inference.grpc import server
from services.inference.metrics import REJECTED
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio
MOST = 2


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Busy:
    """A data plane that answers nobody until it is told to, and then says that it is busy."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()

    async def predict(self, *_: Any, **__: Any) -> None:
        self.asked += 1
        await self.go_on.wait()
        raise OverloadedError("The data plane's own words.")


@pytest.fixture
def plane() -> Busy:
    return Busy()


@pytest.fixture
async def channel(plane: Busy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[grpc.aio.Channel]:
    monkeypatch.setattr(server, "_ANSWERED", MOST)
    address = f"unix:{tmp_path}/grpc"
    running = server.GrpcServer(Settings(home=tmp_path), cast(DataPlane, plane), address)
    await running.start()
    async with grpc.aio.insecure_channel(address) as made:
        yield made
    await running.stop(0)


@pytest.fixture
def rejected() -> Iterator[Any]:
    counter = REJECTED.labels("overloaded")._value
    before = counter.get()
    yield lambda: counter.get() - before


async def _refusal(call: Any) -> tuple[str, dict[str, Any]]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing: Any = refused.value.trailing_metadata()
    return refused.value.details() or "", dict(trailing)


async def test_who_comes_too_much_is_told_and_counted(channel: Any, plane: Busy, rejected: Any) -> None:
    ours, theirs = InferenceStub(channel), GRPCInferenceServiceStub(channel)
    request = wire.PredictRequest(model="cells", images=[wire.Image(data=b"x")])
    inside = [asyncio.ensure_future(_refusal(ours.Predict(request, timeout=60))) for _ in range(MOST)]
    while plane.asked < MOST:
        await asyncio.sleep(0.01)

    async def streamed() -> None:
        async for _ in ours.PredictStream(iter([wire.PredictStreamRequest(request=request)]), timeout=60):
            pass

    asked = protocol.ModelInferRequest(model_name="cells")
    for call in (ours.Predict(request, timeout=60), streamed(), theirs.ModelInfer(asked, timeout=60)):
        words, trailing = await _refusal(call)
        assert "2 calls are being answered already" in words
        problem = wire.Problem.FromString(trailing["aimic-problem-bin"])
        assert (problem.code, problem.request_id) == ("overloaded", trailing["x-request-id"])
        assert int(trailing["retry-after"]) >= 1
    assert rejected() == 3 and plane.asked == MOST
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert (await theirs.ServerLive(protocol.ServerLiveRequest(), timeout=60)).live

    plane.go_on.set()
    for words, _ in await asyncio.gather(*inside):
        assert words == "The data plane's own words."
    assert (await _refusal(ours.Predict(request, timeout=60)))[0] == "The data plane's own words."


async def test_streams_that_are_silent_leave_room_for_calls(
    channel: Any, plane: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = InferenceStub(channel)
    plane.go_on.set()
    idle = [stub.PredictStream(timeout=60) for _ in range(MOST)]
    for stream in idle:  # each is open: it was answered
        await stream.write(wire.PredictStreamRequest())
        assert (await stream.read()).WhichOneof("outcome") == "problem"
    words, _ = await _refusal(stub.Predict(wire.PredictRequest(model="cells"), timeout=60))
    assert words == "The data plane's own words."
    for stream in idle:
        stream.cancel()
