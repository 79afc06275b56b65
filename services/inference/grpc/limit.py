"""How many calls are answered at once. gRPC's own limit tells neither metrics nor callers why it turned a call away."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias, cast

import grpc
from grpc.aio import ServerInterceptor

from aimic.errors import OverloadedError
from services.inference.grpc.calls import Context
from services.inference.metrics import GRPC_SECONDS, REJECTED

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, Context], Awaitable[Any]]


class Limit(ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Turns calls of `methods` (`/service/method`) away while `most` of them are being answered; others come through.

    Decided before the message is read, so that turning away costs next to nothing. An open stream is no call that is
    being answered, since it may be silent for hours: `streams` of them may be open, and what one asks is bounded by its
    places (`places.py`) and the data plane's own admission. It stands within `Bounded`, which tells the caller.
    """

    def __init__(self, most: int, streams: int, methods: Collection[str]) -> None:
        self._most = {False: most, True: streams}
        self._methods = frozenset(methods)
        self._now = {False: 0, True: 0}
        """Calls with one message, and streams."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """What answers this call."""
        handler, method = await continuation(handler_call_details), handler_call_details.method
        if method not in self._methods:
            return handler
        if any(self._now[kind] >= self._most[kind] for kind in {False, handler.request_streaming}):
            REJECTED.labels("overloaded").inc()
            GRPC_SECONDS.labels(method.rpartition("/")[2], OverloadedError.grpc_code).observe(0)
            return grpc.stream_stream_rpc_method_handler(self._turn_away)
        return self._counted(handler)

    def _counted(self, handler: Handler) -> Handler:
        """The same, counted from when its message is there: who never sends it holds no place."""
        streams = bool(handler.request_streaming)
        answer = cast(Behaviour, handler.stream_stream if streams else handler.unary_unary)

        async def counted(asked: Any, context: Context) -> Any:
            self._now[streams] += 1
            try:
                return await answer(asked, context)
            finally:
                self._now[streams] -= 1

        form = grpc.stream_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        return form(counted, handler.request_deserializer, handler.response_serializer)

    async def _turn_away(self, _requests: Any, _context: Context) -> None:
        calls, streams = self._now[False], self._now[True]
        said = f"{calls} calls are being answered" if calls >= self._most[False] else f"{streams} streams are open"
        raise OverloadedError(f"{said} already. Ask again in a moment.")
