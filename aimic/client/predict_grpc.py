"""The asyncio client of predictions over gRPC: `from aimic.client.predict_grpc import GrpcClient`.

It needs grpcio (`pip install aimic[grpc]`), so nothing else of the client imports it.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property

import grpc
import grpc.aio

from aimic.client.predict_asking import Asking
from aimic.client.predict_grpc_line import Line
from aimic.client.predict_grpc_wire import failed, request_of, response_of
from aimic.client.predict_images import Item
from aimic.client.predict_many import Ask
from aimic.client.predict_tries import NotAnsweredError
from aimic.client.retry import Retry
from aimic.domain.prediction import PredictResponse
from aimic.errors import TooLargeError
from aimic.rpc.v1.inference_pb2_grpc import InferenceStub
from aimic.telemetry import outgoing

_ANSWER_BYTES = 64 * 2**20


class GrpcClient(Asking):
    """Predictions over gRPC. `predict` asks by single calls, `stream` by one bidirectional stream.

    `address` is host:port of the service itself (the front of `aimic up` speaks REST only). With `credentials`, such
    as `grpc.ssl_channel_credentials()`, the connection is encrypted.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:8002",
        api_key: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        retry: Retry | None = None,
    ) -> None:
        super().__init__(retry)
        self._address = address
        self._credentials = credentials
        self._credential = (("authorization", f"Bearer {api_key}"),) if api_key else ()

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        """The key, and the trace if we are in one."""
        return (*self._credential, *outgoing().items())

    async def aclose(self) -> None:
        """Close the connection, and with it whatever is under way."""
        if "_channel" in self.__dict__:
            await self._channel.close(None)

    @cached_property
    def _channel(self) -> grpc.aio.Channel:
        # Made at the first call, since it belongs to the event loop that runs then.
        options = (
            ("grpc.max_receive_message_length", _ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),  # ours know the deadline and what the server wishes
        )
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._address, options)
        return grpc.aio.secure_channel(self._address, self._credentials, options)

    def _ask(self, model: str) -> Ask:
        async def ask(version: int | None, batch: Sequence[Item], seconds: float) -> PredictResponse:
            stub = InferenceStub(self._channel)
            try:
                reply = await stub.Predict(request_of(model, version, batch), timeout=seconds, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                raise failed(error, self._address) from error
            return response_of(reply)

        return ask

    @asynccontextmanager
    async def _line(self, model: str) -> AsyncIterator[Ask]:
        line = Line(lambda: InferenceStub(self._channel).PredictStream(metadata=self._metadata), self._address)
        alone = self._ask(model)

        async def ask(version: int | None, batch: Sequence[Item], seconds: float) -> PredictResponse:
            ends = time.monotonic() + seconds
            try:
                return response_of(await line.ask(request_of(model, version, batch), seconds))
            except NotAnsweredError as refused:
                left = ends - time.monotonic()
                if not isinstance(refused.error, TooLargeError) or left <= 0:
                    raise
            # One message over the limit ends the stream for all who share it. A call of its own tells whose it was.
            return await alone(version, batch, left)

        try:
            yield ask
        finally:
            await line.close()
