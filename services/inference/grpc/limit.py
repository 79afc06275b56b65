"""How many calls are answered at once. gRPC's own limit tells neither metrics nor callers why it turned a call away."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias, cast

import grpc
from grpc.aio import ServerInterceptor

from aimic.auth import Authenticator
from aimic.errors import OverloadedError
from services.inference.grpc.calls import Call, Context
from services.inference.metrics import GRPC_SECONDS, REJECTED

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, Context], Awaitable[Any]]


class Limit(ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Turns calls of `methods` (`/service/method`) away while `most` of them are being answered; others come through.

    Decided before the message is read, so that turning away costs next to nothing.
    """

    def __init__(self, most: int, methods: Collection[str], authenticator: Authenticator) -> None:
        self._most = most
        self._methods = frozenset(methods)
        self._authenticator = authenticator
        self._now = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """What answers this call."""
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if method not in self._methods:
            return handler
        if self._now >= self._most:
            REJECTED.labels("overloaded").inc()
            GRPC_SECONDS.labels(method.rpartition("/")[2], OverloadedError.grpc_code).observe(0)
            return grpc.stream_stream_rpc_method_handler(self._turn_away)
        return self._counted(handler)

    def _counted(self, handler: Handler) -> Handler:
        """The same, counted from when its message is there: who never sends it holds no place."""
        streams = handler.request_streaming
        answer = cast(Behaviour, handler.stream_stream if streams else handler.unary_unary)

        async def counted(asked: Any, context: Context) -> Any:
            self._now += 1
            try:
                return await answer(asked, context)
            finally:
                self._now -= 1

        form = grpc.stream_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        return form(counted, handler.request_deserializer, handler.response_serializer)

    async def _turn_away(self, _requests: Any, context: Context) -> None:
        error = OverloadedError(f"{self._now} calls are being answered already. Ask again in a moment.")
        await Call(context, self._authenticator).abort(error)
