"""The gRPC client against a server that breaks, hangs and refuses; answers of the real one: test_examples.py."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from aimic import tracing
from aimic.client import Retry, predict_grpc_line, predict_images
from aimic.client.predict_grpc import GrpcClient
from aimic.client.predict_images import Image
from aimic.domain.prediction import ImageResult
from aimic.errors import (
    AimicError,
    DeadlineError,
    NotAuthenticatedError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
)
from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceServicer, add_InferenceServicer_to_server

pytestmark = pytest.mark.anyio
KEY = (("authorization", "Bearer key"),)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def two_images_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict_images, "BATCH_IMAGES", 2)
    monkeypatch.setattr(predict_grpc_line, "GRACE_S", 0.2)


class Service(InferenceServicer):
    """Answers in order as ours does. `faults` come first, one per request: a problem, or how the call ends."""

    def __init__(self) -> None:
        self.faults: dict[int, wire.Problem | grpc.StatusCode | None] = {}
        self.asked: list[list[str]] = []
        self.streams = 0
        self.traces: list[Any] = []

    async def Predict(self, request: wire.PredictRequest, context: Any) -> wire.PredictReply:
        number = len(self.asked)
        self.asked.append([image.name for image in request.images])
        self.traces.append(dict(context.invocation_metadata()).get("traceparent"))
        fault = self.faults.get(number)
        if isinstance(fault, grpc.StatusCode):
            await context.abort(fault, "in words")
        if isinstance(fault, wire.Problem):
            trailing = (("aimic-problem-bin", fault.SerializeToString()),)
            await context.abort(grpc.StatusCode.INTERNAL, fault.message, trailing)
        return self._reply(request)

    async def PredictStream(self, requests: AsyncIterator[wire.PredictStreamRequest], context: Any) -> None:
        assert KEY[0] in tuple(context.invocation_metadata())
        self.streams += 1
        self.traces.append(dict(context.invocation_metadata()).get("traceparent"))
        async for message in requests:
            number = len(self.asked)
            self.asked.append([image.name for image in message.request.images])
            reply = wire.PredictStreamReply(correlation_id=message.correlation_id)
            if number not in self.faults:
                reply.reply.CopyFrom(self._reply(message.request))
                await context.write(reply)
                continue
            fault = self.faults[number]
            if fault is None:
                await asyncio.sleep(60)
            elif isinstance(fault, wire.Problem):
                reply.problem.CopyFrom(fault)
                await context.write(reply)
            else:
                await context.abort(fault, "in words")

    def _reply(self, request: wire.PredictRequest) -> wire.PredictReply:
        answer = wire.Answer(
            label="x",
            probabilities=[wire.ClassProbability(label="x", probability=0.75)],
            model="m",
            version=3,
            bundle_hash="h",
            executor="e",
        )
        bad = wire.Problem(code="unreadable_image", message="no image")
        results = [
            wire.ImageResult(index=index, name=image.name, problem=bad)
            if image.name == "bad"
            else wire.ImageResult(index=index, name=image.name, answer=answer)
            for index, image in enumerate(request.images)
        ]
        return wire.PredictReply(model="m", version=request.version or 3, request_id="r", results=results)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def client(service: Service, tmp_path: Path) -> AsyncIterator[GrpcClient]:
    server = grpc.aio.server()
    add_InferenceServicer_to_server(service, server)
    address = f"unix:{tmp_path}/s"
    server.add_insecure_port(address)
    await server.start()
    async with GrpcClient(address, "key", retry=Retry(first_s=0.01, longest_s=0.02)) as made:
        yield made
    await server.stop(0)


def pictures(count: int) -> list[Image]:
    return [(f"n{i}", b"x") for i in range(count)]


async def all_of(client: GrpcClient, images: list[Image], **more: Any) -> list[ImageResult]:
    async with aclosing(client.stream("m", images, **more)) as results:
        return [result async for result in results]


def problem(code: str, after_s: float | None = None) -> wire.Problem:
    return wire.Problem(code=code, message=f"said {code}", request_id="r", retry_after_seconds=after_s)


async def test_answers_are_those_of_rest(client: GrpcClient) -> None:
    response = await client.predict("m", [*pictures(2), ("bad", b"")], deadline_s=20)
    assert (response.model, response.version, response.request_id) == ("m", 3, "r")
    assert [(r.index, r.name, r.error is None) for r in response.results] == [
        (0, "n0", True),
        (1, "n1", True),
        (2, "bad", False),
    ]
    answer = response.results[0].answer
    assert answer is not None and answer.probabilities == {"x": 0.75}
    assert (answer.label, answer.reason, answer.abstained) == ("x", None, False)


async def test_one_stream_carries_all_requests(client: GrpcClient, service: Service) -> None:
    results = await all_of(client, [*pictures(20), ("bad", b"")])
    assert [r.name for r in results if r.answer] == [f"n{i}" for i in range(20)]
    assert results[20].error is not None and results[20].index == 20
    assert (service.streams, len(service.asked)) == (1, 11)


async def test_a_busy_answer_and_a_broken_stream_cost_nothing(client: GrpcClient, service: Service) -> None:
    service.faults = {2: problem("overloaded", 0.1), 5: grpc.StatusCode.UNAVAILABLE}
    results = await all_of(client, pictures(30))
    assert [r.name for r in results if r.answer] == [f"n{i}" for i in range(30)]
    assert service.streams == 2


async def test_a_stream_that_goes_silent_is_left_for_another(client: GrpcClient, service: Service) -> None:
    service.faults = {3: None}
    results = await all_of(client, pictures(20), deadline_s=3)
    assert [r.error for r in results] == [None] * 20
    assert [r.name for r in results if r.answer] == [f"n{i}" for i in range(20)]
    assert service.streams == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, NotAuthenticatedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError),
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (problem("not_found"), NotFoundError),
        (problem("too_large"), TooLargeError),
        (problem("overloaded", 60), OverloadedError),
        (problem("deadline"), DeadlineError),
        (problem("newer than this client"), AimicError),
    ],
)
async def test_an_error_is_what_it_was_on_the_server(
    client: GrpcClient, service: Service, fault: wire.Problem | grpc.StatusCode, kind: type[AimicError]
) -> None:
    service.faults = dict.fromkeys(range(20), fault)
    with pytest.raises(AimicError) as raised:
        await client.predict("m", pictures(1), deadline_s=5)
    assert type(raised.value) is kind
    assert "words" in raised.value.message or "said" in raised.value.message


async def test_an_error_of_the_whole_stream_ends_it(client: GrpcClient, service: Service) -> None:
    service.faults = {0: grpc.StatusCode.UNAUTHENTICATED}
    with pytest.raises(NotAuthenticatedError):
        await all_of(client, pictures(20))


async def test_a_message_that_is_too_large_costs_no_other_its_answer(
    client: GrpcClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_images, "BATCH_IMAGES", 1)
    images = pictures(12)
    images[2] = ("large", bytes(5 * 2**20))  # more than gRPC takes, unless it is told otherwise
    results = await all_of(client, images)
    assert [r.index for r in results if r.error] == [2]
    assert results[2].error is not None and results[2].error.code == "too_large"


async def test_calls_and_streams_are_put_into_the_trace_that_they_are_asked_in(
    client: GrpcClient, service: Service
) -> None:
    place = f"00-{'a' * 32}-{'b' * 16}-01"
    with tracing.span("asking", place):
        await client.predict("m", pictures(1))
        await all_of(client, pictures(1))
    assert service.traces == [place] * 2


async def test_nobody_there(tmp_path: Path) -> None:
    async with GrpcClient(f"unix:{tmp_path}/none", retry=Retry(first_s=0.01, longest_s=0.02)) as client:
        with pytest.raises(UnavailableError):
            await client.predict("m", pictures(1), deadline_s=5)
        with pytest.raises(UnavailableError):
            await all_of(client, pictures(1), deadline_s=2, patience_s=0)
