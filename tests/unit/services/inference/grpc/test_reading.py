"""What a call's own code is told once its message is here."""

import asyncio
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from aimic.auth import Authenticator
from aimic.domain.site import Permission, Principal
from aimic.telemetry import request_id
from services.inference.grpc.calls import Call, answering
from services.inference.grpc.reading import Bounded
from services.inference.settings import Settings

pytestmark = pytest.mark.anyio


class Context:
    """A caller without a deadline whose message takes a while to come."""

    def __init__(self, **metadata: str) -> None:
        self.all_here = 0.0
        self.id_while_reading = ""
        self.aborted: list[Any] = []
        self._metadata = tuple(metadata.items())

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def time_remaining(self) -> None:
        return None

    async def read(self) -> bytes:
        self.id_while_reading = request_id.get()
        await asyncio.sleep(0.05)
        self.all_here = time.monotonic()
        return b"message"

    async def abort(self, code: grpc.StatusCode, words: str, trailing: Any) -> None:
        self.aborted.append(code)
        raise ConnectionAbortedError(words)


class Counting(Authenticator):
    """How often it was asked."""

    times = 0

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        self.times += 1
        return super().authenticate(headers)


async def called(context: Any, authenticator: Authenticator, settings: Settings) -> Call:
    """Calls a method that needs the permission to predict; what it was told."""

    async def method(request: bytes, context: Any) -> Call:
        assert request == b"message"
        async with answering("Predict") as call:
            call.principal(Permission.PREDICT)
        return call

    async def continuation(_: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(method, bytes, bytes)

    details: Any = SimpleNamespace(method="/aimic.rpc.v1.Inference/Predict")
    handler = await Bounded(settings, authenticator).intercept_service(continuation, details)
    call: Call = await asyncio.create_task(handler.stream_unary(None, context))
    return call


async def test_a_call_without_a_deadline_gets_the_default_from_its_arrival_on(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path, inference_deadline_s=30, inference_longest_deadline_s=300)
    context = Context()
    call = await called(context, Authenticator(settings), settings)
    assert call.deadline(30, 300).at < context.all_here + 30
    assert call.came < context.all_here


async def test_a_call_has_one_id_and_its_key_is_looked_at_once(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path, api_key=SecretStr("secret"))
    authenticator, context = Counting(settings), Context(authorization="Bearer secret")
    call = await called(context, authenticator, settings)
    assert authenticator.times == 1
    assert call.request_id and call.request_id == context.id_while_reading


async def test_a_wrong_key_is_looked_at_once_too(tmp_path: Any) -> None:
    settings = Settings(home=tmp_path, api_key=SecretStr("secret"))
    authenticator, context = Counting(settings), Context(authorization="Bearer wrong")
    with pytest.raises(ConnectionAbortedError):
        await called(context, authenticator, settings)
    assert authenticator.times == 1 and context.aborted == [grpc.StatusCode.UNAUTHENTICATED]
