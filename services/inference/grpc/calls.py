"""What every gRPC call brings beside its message, and how a failed one ends."""

import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any, NoReturn

import grpc
from grpc.aio import ServicerContext

from aimic import tracing
from aimic.auth import Authenticator, require
from aimic.domain.site import Permission, Principal
from aimic.errors import AimicError, OverloadedError
from aimic.telemetry import exemplar, sane_request_id
from aimic.telemetry import request_id as current_request_id
from services.inference.deadline import Deadline
from services.inference.grpc.messages import problem_of
from services.inference.metrics import GRPC_SECONDS
from services.inference.unforeseen import unforeseen

logger = logging.getLogger(__name__)
Context = ServicerContext[Any, Any]
_current: ContextVar["Call"] = ContextVar("call")
"""The call at hand, from its arrival on; its own code is told of it only once its message is here."""


class Call:
    """One call: its id, its caller, its deadline. Made when it arrives, for everything that is done for it."""

    def __init__(self, context: Context, authenticator: Authenticator) -> None:
        self._context = context
        self._authenticator = authenticator
        self._metadata = {
            key.lower(): value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        self.request_id = sane_request_id(self._metadata.get("x-request-id", ""))
        self.traceparent = self._metadata.get("traceparent", "")
        self.came = time.monotonic()
        """When it arrived (monotonic seconds)."""
        current_request_id.set(self.request_id)
        _current.set(self)

    def principal(self, permission: Permission) -> Principal:
        """Who calls; NotAuthenticatedError or ForbiddenError otherwise."""
        if isinstance(self._caller, AimicError):
            raise self._caller
        require(self._caller, permission)
        return self._caller

    def is_known(self) -> bool:
        """Whether the caller may do anything here."""
        return isinstance(self._caller, Principal)

    @cached_property
    def _caller(self) -> Principal | AimicError:
        try:
            return self._authenticator.authenticate(self._metadata)
        except AimicError as error:
            return error

    @property
    def ends(self) -> float:
        """The moment (monotonic seconds) of the caller's own deadline; infinity without one."""
        remaining = self._context.time_remaining()
        return math.inf if remaining is None else time.monotonic() + remaining

    def deadline(self, default_s: float, longest_s: float) -> Deadline:
        """The call's own, within bounds; a call that names none gets the default. Both count from its arrival."""
        own = self.ends
        return Deadline(self.came + default_s if own == math.inf else min(own, self.came + longest_s))

    async def abort(self, error: AimicError) -> NoReturn:
        """End the call with the error's code; the problem and the request id are trailing metadata."""
        problem = problem_of(error, self.request_id).SerializeToString()
        trailing: list[tuple[str, str | bytes]] = [
            ("x-request-id", self.request_id),
            ("aimic-problem-bin", problem),
        ]
        if error.retry_after_s is not None:
            seconds = max(1, round(error.retry_after_s))
            trailing.append(("retry-after", str(seconds)))
            # What gRPC's own clients obey when a retry policy is set for them (gRFC A6).
            trailing.append(("grpc-retry-pushback-ms", str(seconds * 1000)))
        await self._context.abort(grpc.StatusCode[error.grpc_code], error.message, tuple(trailing))

    def succeeded(self) -> None:
        """Name the request in the trailing metadata of an answer too."""
        self._context.set_trailing_metadata((("x-request-id", self.request_id),))


@asynccontextmanager
async def answering(method: str) -> AsyncIterator[Call]:
    """The call at hand. What is inside is traced and measured; any error in it ends the call in our form."""
    call = _current.get()
    started = time.monotonic()
    code = "CANCELLED"
    with tracing.span(method, call.traceparent, "server", {"rpc.system": "grpc", "rpc.method": method}) as span:
        try:
            yield call
            code = "OK"
        except AimicError as error:
            code = error.grpc_code
            await call.abort(error)
        except Exception as error:
            code = AimicError.grpc_code
            await call.abort(unforeseen(error))
        finally:
            span.note({"rpc.response.status_code": code, "aimic.request_id": call.request_id})
            seconds = time.monotonic() - started
            GRPC_SECONDS.labels(method, code).observe(seconds, exemplar())
            if code != OverloadedError.grpc_code:  # turning away must cost next to nothing
                logger.info("call", extra={"method": method, "code": code, "seconds": round(seconds, 4)})
