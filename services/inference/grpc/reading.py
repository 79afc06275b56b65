"""Messages are read when there is a place for them, and none from somebody unknown at others' expense."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from inspect import isasyncgen
from typing import Any, Generic, Self, TypeVar

import grpc
from google.protobuf.message import DecodeError

from aimic.auth import Authenticator
from aimic.errors import AimicError, InvalidInputError, OverloadedError, TooLargeError
from services.inference.deadline import Deadline
from services.inference.grpc.calls import Call, Context
from services.inference.grpc.places import Caller, Place, Places
from services.inference.settings import Settings

HEALTH = ("/grpc.health.v1.Health/", "/inference.GRPCInferenceService/Server")
"""Beginnings of the methods by which whoever restarts us asks for our health."""
_SMALL = 64 * 2**10
"""Bytes that a message to one of these may have."""
T = TypeVar("T")
Handler = Any  # the stubs and gRPC don't agree on a name for it
Parse = Callable[[bytes], T]


@dataclass(frozen=True, slots=True)
class Space:
    """Where the messages of some callers have their places."""

    places: Places
    most: int
    """Bytes that one of them may have."""
    for_streams: bool = True
    """Whether a stream may wait for its place without an end, as one that is asked now and then does."""


class Messages(Generic[T]):
    """What a caller sends, message by message; each has its place until the next is asked for, or longer if `kept`."""

    def __init__(self, context: Context, space: Space, parse: Parse[T], *, streaming: bool) -> None:
        self._context = context
        self._space = space
        self._parse = parse
        self._streaming = streaming and space.for_streams
        self._caller = Caller()
        self._place: Place | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """OverloadedError when another needed the place, InvalidInputError when this can't be read, TooLargeError."""
        self.let_go()
        self._place = await self._space.places.take(self._caller, streaming=self._streaming)
        raw = await self._read(self._place)
        if raw is None:
            self.let_go()
            raise StopAsyncIteration
        if len(raw) > self._space.most:
            raise TooLargeError(f"A message to this method has {self._space.most} bytes at most.")
        self._place.arrived(len(raw))
        try:
            return self._parse(raw)
        except DecodeError:
            raise InvalidInputError("This is no message of the kind that this method takes.") from None

    def kept(self) -> Place:
        """The place of the message that came last; whoever asks for it gives it back."""
        place, self._place = self._place, None
        assert place is not None
        return place

    def let_go(self) -> None:
        """The message that came last is not needed any more, and none is waited for."""
        if self._place is not None:
            self._place.give_back()
            self._place = None

    async def _read(self, place: Place) -> bytes | None:
        """The next message as it came; None at the end."""
        limit = place.limit = asyncio.timeout(None)
        try:
            async with limit:
                raw = await self._context.read()
        except TimeoutError:
            if not limit.expired():
                raise
            raise OverloadedError(
                "Nothing came from you while others waited to send something, so this call was ended. Ask again.",
                retry_after_s=1,
            ) from None
        finally:
            place.limit = None
        return raw if isinstance(raw, bytes) else None  # gRPC has an object of its own for the end


class Bounded(grpc.aio.ServerInterceptor):  # type: ignore[type-arg] # generic only in the stubs
    """Around every method: a place for every message, within the bound on all of them.

    Who shows no valid key (reflection asks for none) shares two places with others who don't, and those who ask for our
    health two more, whoever they are: who is told nothing there restarts us.
    """

    def __init__(self, settings: Settings, authenticator: Authenticator) -> None:
        message = settings.inference_request_bytes
        self._known = Space(Places(settings.inference_body_bytes, message), message)
        self._unknown = Space(Places(2 * message, message), message, for_streams=False)
        self._health = Space(Places(2 * message, message), _SMALL)
        self._authenticator = authenticator
        self._seconds = settings.inference_deadline_s, settings.inference_longest_deadline_s

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The same method, which reads its messages itself: as a stream, which on the wire is all the same."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # gRPC itself says that there is no such method
        make = grpc.stream_stream_rpc_method_handler
        if not handler.response_streaming:
            make = grpc.stream_unary_rpc_method_handler
        health = handler_call_details.method.startswith(HEALTH)
        return make(self._behaviour(handler, health), None, handler.response_serializer)

    def _behaviour(self, handler: Any, health: bool) -> Callable[[Any, Context], Awaitable[Any]]:
        work = next(
            filter(None, (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream))
        )

        async def behaviour(_: AsyncIterator[bytes], context: Context) -> Any:
            call = Call(context, self._authenticator)
            parse = handler.request_deserializer
            space = self._health if health else self._space_of(call)
            messages = Messages(context, space, parse, streaming=handler.request_streaming)
            try:
                request = messages if handler.request_streaming else await self._only(messages, call)
                return await _carried_out(work(request, context), context)
            except AimicError as error:
                await call.abort(error)
            finally:
                messages.let_go()

        return behaviour

    def _space_of(self, call: Call) -> Space:
        return self._known if call.is_known() else self._unknown

    async def _only(self, messages: Messages[Any], call: Call) -> Any:
        deadline: Deadline = call.deadline(*self._seconds)
        async with deadline.during("the request was read"):
            async for message in messages:
                return message
        raise InvalidInputError("The call came without a message.")


async def _carried_out(work: Any, context: Context) -> Any:
    if not isasyncgen(work):
        return await work
    async for reply in work:
        await context.write(reply)
    return None
