"""What a call's own code is told once its message is here."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from aimic.auth import Authenticator
from services.inference.grpc.calls import Call
from services.inference.grpc.reading import Bounded
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio


class Context:
    """A caller without a deadline whose message takes a while to come."""

    def __init__(self) -> None:
        self.all_here = 0.0

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> None:
        return None

    async def read(self) -> bytes:
        await asyncio.sleep(0.05)
        self.all_here = time.monotonic()
        return b"message"


async def test_a_call_without_a_deadline_gets_the_default_from_its_arrival_on(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path, inference_deadline_s=30, inference_longest_deadline_s=300)
    authenticator = Authenticator(settings)
    context: Any = Context()

    async def method(request: bytes, context: Any) -> Call:
        assert request == b"message"
        return Call(context, authenticator)

    async def continuation(_: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(method, bytes, bytes)

    details: Any = SimpleNamespace(method="/aimic.rpc.v1.Inference/Predict")
    handler = await Bounded(settings, authenticator).intercept_service(continuation, details)
    call = await asyncio.create_task(handler.stream_unary(None, context))
    assert call.deadline(30, 300).at < context.all_here + 30
    assert call.came < context.all_here
