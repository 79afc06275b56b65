"""aimic.rpc.v1.Inference: messages in and out; the decisions are the data plane's."""

import asyncio
from collections.abc import Awaitable, Callable

from aimic.domain.site import Permission, Principal
from aimic.errors import AimicError
from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceServicer
from services.inference.dataplane import DataPlane
from services.inference.deadline import Deadline
from services.inference.grpc.calls import Call, Context, answering
from services.inference.grpc.messages import images_of, problem_of, reply_of, version_of
from services.inference.grpc.reading import Messages
from services.inference.settings import Settings
from services.inference.unforeseen import unforeseen

READ_AHEAD = 8
"""Requests of one stream that are worked on at the same time."""

Pending = asyncio.Queue[asyncio.Task[wire.PredictStreamReply] | None]


class Servicer(InferenceServicer):
    """Both methods need the permission `predict`."""

    def __init__(self, settings: Settings, plane: DataPlane) -> None:
        self._settings = settings
        self._plane = plane

    async def Predict(self, request: wire.PredictRequest, _context: Context) -> wire.PredictReply:  # noqa: N802
        """All images of one request, in one answer."""
        async with answering("Predict") as call:
            principal = call.principal(Permission.PREDICT)
            reply = await self._reply(request, principal, self._deadline(call), call.request_id)
            call.succeeded()
        return reply

    async def PredictStream(  # noqa: N802
        self, requests: Messages[wire.PredictStreamRequest], context: Context
    ) -> None:
        """A reply or a problem for each request, in their order."""
        async with answering("PredictStream") as call:
            principal = call.principal(Permission.PREDICT)
            pending: Pending = asyncio.Queue(READ_AHEAD)
            async with asyncio.TaskGroup() as group:
                group.create_task(_write(pending, context))

                async def begin(number: int, message: wire.PredictStreamRequest) -> None:
                    work = self._one(message, principal, call, f"{call.request_id}.{number}")
                    task = group.create_task(work)
                    place = requests.kept()
                    task.add_done_callback(lambda _: place.give_back())
                    await pending.put(task)

                ended = await _each(requests, begin)
                await pending.put(None)
            if ended is not None:
                raise ended
            call.succeeded()

    async def _one(
        self, message: wire.PredictStreamRequest, principal: Principal, call: Call, request_id: str
    ) -> wire.PredictStreamReply:
        """One request of a stream; its failure is its own."""
        reply = wire.PredictStreamReply(correlation_id=message.correlation_id)
        deadline = self._stream_deadline(message, call)
        try:
            answer = await self._reply(message.request, principal, deadline, request_id)
            reply.reply.CopyFrom(answer)
        except AimicError as error:
            reply.problem.CopyFrom(problem_of(error, request_id))
        except Exception as error:
            reply.problem.CopyFrom(problem_of(unforeseen(error), request_id))
        return reply

    async def _reply(
        self, request: wire.PredictRequest, principal: Principal, deadline: Deadline, request_id: str
    ) -> wire.PredictReply:
        response = await self._plane.predict(
            request.model, version_of(request), images_of(request), deadline, request_id, principal=principal
        )
        return reply_of(response)

    def _deadline(self, call: Call) -> Deadline:
        return call.deadline(self._settings.inference_deadline_s, self._settings.inference_longest_deadline_s)

    def _stream_deadline(self, message: wire.PredictStreamRequest, call: Call) -> Deadline:
        """The request's own, or the default; never beyond the call's, if that has one."""
        if message.HasField("deadline_milliseconds"):
            own = message.deadline_milliseconds / 1000
        else:
            own = self._settings.inference_deadline_s
        # From now on: a stream may be older than the longest deadline.
        longest = self._settings.inference_longest_deadline_s
        return Deadline(min(Deadline.after(min(own, longest)).at, call.ends))


async def _write(pending: Pending, context: Context) -> None:
    while (task := await pending.get()) is not None:
        await context.write(await task)


async def _each(
    requests: Messages[wire.PredictStreamRequest], begin: Callable[[int, wire.PredictStreamRequest], Awaitable[None]]
) -> AimicError | None:
    """Begin to answer every request; why no more are read, if that isn't the caller's own end."""
    number = 0
    try:
        async for message in requests:
            number += 1
            await begin(number, message)
    except AimicError as error:
        return error
    return None
