"""One bidirectional stream that many requests share, and a new one when it breaks."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import grpc.aio

from aimic.client.predict_grpc_wire import failed, refused
from aimic.client.predict_rest import GRACE_S
from aimic.client.predict_tries import NotAnsweredError
from aimic.errors import DeadlineError, UnavailableError
from aimic.rpc.v1 import inference_pb2 as wire

Replies = dict[str, asyncio.Future[wire.PredictReply]]


class Line:
    """`open_` starts a stream. A stream that broke or went silent is left, and the next request opens another."""

    def __init__(self, open_: Callable[[], Any], address: str) -> None:
        self._open = open_
        self._address = address
        self._numbers = itertools.count()
        self._stream: _Stream | None = None

    async def ask(self, request: wire.PredictRequest, seconds: float) -> wire.PredictReply:
        """The reply within `seconds`; NotAnsweredError otherwise."""
        if self._stream is None or self._stream.over:
            self._stream = _Stream(self._open(), self._address)
        stream = self._stream
        message = wire.PredictStreamRequest(
            correlation_id=str(next(self._numbers)),
            request=request,
            deadline_milliseconds=max(1, round(seconds * 1000)),
        )
        try:
            async with asyncio.timeout(seconds + GRACE_S):
                return await stream.ask(message)
        except TimeoutError:
            # The service answers in time by itself, be it with an error: this stream is dead.
            stream.end()
            raise NotAnsweredError(DeadlineError(f"AIMIC at {self._address} didn't answer in time.")) from None

    async def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._stream.end()
            await asyncio.gather(self._stream.reader, return_exceptions=True)


class _Stream:
    def __init__(self, call: Any, address: str) -> None:
        self._call = call
        self._address = address
        self._waiting: Replies = {}
        self._writing = asyncio.Lock()
        self.over = False
        self.reader = asyncio.create_task(self._read())

    async def ask(self, message: wire.PredictStreamRequest) -> wire.PredictReply:
        reply: asyncio.Future[wire.PredictReply] = asyncio.get_running_loop().create_future()
        self._waiting[message.correlation_id] = reply
        try:
            async with self._writing:
                if not self.over:
                    # Why a call is over, its reader hears, and tells all who wait.
                    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                        await self._call.write(message)
            return await reply
        except asyncio.CancelledError:
            # gRPC raises this too when another request ended the stream; then nobody has cancelled us.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self._broken() from None
        finally:
            self._waiting.pop(message.correlation_id, None)

    def end(self) -> None:
        """No more of this stream; what waits for it is told."""
        self.over = True
        self._call.cancel()

    async def _read(self) -> None:
        end = self._broken()
        try:
            while isinstance(reply := await self._call.read(), wire.PredictStreamReply):  # else its end
                self._told(reply)
        except grpc.aio.AioRpcError as error:
            end = failed(error, self._address)
        finally:
            self.over = True
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(end)

    def _told(self, reply: wire.PredictStreamReply) -> None:
        waiting = self._waiting.get(reply.correlation_id)
        if waiting is None or waiting.done():
            return  # nobody waits for it any more
        if reply.HasField("problem"):
            waiting.set_exception(refused(reply.problem))
        else:
            waiting.set_result(reply.reply)

    def _broken(self) -> NotAnsweredError:
        return NotAnsweredError(UnavailableError(f"The connection to AIMIC at {self._address} broke; try again."))
