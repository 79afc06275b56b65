"""The protocol by REST, under `/v2`: HTTP in and out, nothing else."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Request, Response

from aimic.auth import Authenticator
from aimic.disconnect import unless_gone
from aimic.domain.site import Permission, Principal
from aimic.errors import NotFoundError
from aimic.telemetry import request_id
from services.inference.dataplane import DataPlane
from services.inference.oip import compression, models
from services.inference.oip.bodies import asked_of, body_of
from services.inference.oip.errors import ERRORS, ProtocolRoute
from services.inference.oip.inferring import SMALL, Asked, infer, until
from services.inference.oip.schemas import InferResponse, Live, ModelMetadata, ModelReady, Ready, ServerMetadata
from services.inference.rest.bodies import Bodies, Held
from services.inference.rest.calls import deadline_of, needs
from services.inference.settings import Settings

PREFIX = "/v2"
MODELS = f"{PREFIX}/models/"
"""Below it inferences are asked for."""
_LENGTH = "inference-header-content-length"
_AT_ONCE = 2
"""Large and packed bodies that are read at the same time. What they become meanwhile, no budget has counted yet."""
_TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "enum": [tensor.name for tensor in models.INPUTS]},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "datatype": {"type": "string", "enum": [tensor.datatype for tensor in models.INPUTS]},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    },
}
_REQUEST: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
DeadlineHeader = Annotated[str | None, Header(alias="X-Deadline-Ms")]
Result = TypeVar("Result")


def router(
    settings: Settings, authenticator: Authenticator, plane: DataPlane, bodies: Bodies, ready: Callable[[], bool]
) -> APIRouter:
    """The routes of `/v2`. `ready` says whether the process should get requests."""
    routes = APIRouter(prefix=PREFIX, route_class=ProtocolRoute, tags=["Open Inference Protocol"])
    _health(routes, ready)
    _reading(routes, authenticator, plane)
    _inferring(routes, authenticator, _Shell(settings, plane, bodies))
    _nothing_else(routes, authenticator)
    return routes


def _health(routes: APIRouter, ready: Callable[[], bool]) -> None:
    # Open, as gRPC's health is: who asks is a load balancer without a key, and yes or no is all that it hears.
    @routes.get("/health/live")
    async def server_live() -> Live:
        """Whether the server answers."""
        return Live(live=True)

    @routes.get("/health/ready", responses={503: {"model": Ready}})
    async def server_ready(response: Response) -> Ready:
        """Whether the server should get requests; 503 when not."""
        return Ready(ready=_or_503(ready(), response))


def _reading(routes: APIRouter, authenticator: Authenticator, plane: DataPlane) -> None:
    reads = Depends(needs(authenticator, Permission.MODELS_READ))

    def told(principal: Principal, name: str, version: str) -> ModelMetadata:
        info = models.model_info(plane.catalogue, principal.site, name, models.version_of(version))
        return ModelMetadata.model_validate(info, from_attributes=True)

    def model_ready(principal: Principal, name: str, version: str, response: Response) -> ModelReady:
        found = models.is_ready(plane.catalogue, principal.site, name, models.version_of(version))
        return ModelReady(name=name, ready=_or_503(found, response))

    @routes.get("/", include_in_schema=False, dependencies=[reads])
    @routes.get("", responses=ERRORS, dependencies=[reads])
    async def server_metadata() -> ServerMetadata:
        """Who answers, and with which extensions of the protocol."""
        return ServerMetadata(name=models.SERVER, version=models.VERSION, extensions=models.EXTENSIONS)

    @routes.get("/models/{name}", responses=ERRORS)
    async def model_metadata(name: str, principal: Annotated[Principal, reads]) -> ModelMetadata:
        """The tensors of the version that serves. The number of classes is -1 until it is in memory."""
        return told(principal, name, "")

    @routes.get("/models/{name}/versions/{version}", responses=ERRORS)
    async def version_metadata(name: str, version: str, principal: Annotated[Principal, reads]) -> ModelMetadata:
        """The tensors of one version. The number of classes is -1 until it is in memory."""
        return told(principal, name, version)

    @routes.get("/models/{name}/ready", responses=ERRORS | {503: {"model": ModelReady}})
    async def serving_ready(name: str, principal: Annotated[Principal, reads], response: Response) -> ModelReady:
        """Whether the version that serves answers; 503 when not."""
        return model_ready(principal, name, "", response)

    @routes.get("/models/{name}/versions/{version}/ready", responses=ERRORS | {503: {"model": ModelReady}})
    async def version_ready(
        name: str, version: str, principal: Annotated[Principal, reads], response: Response
    ) -> ModelReady:
        """Whether one version is in memory and answers; 503 when not. An inference loads it."""
        return model_ready(principal, name, version, response)


def _inferring(routes: APIRouter, authenticator: Authenticator, shell: "_Shell") -> None:
    predicts = Depends(needs(authenticator, Permission.PREDICT))
    described: dict[str, Any] = {"openapi_extra": _BODY, "responses": ERRORS, "response_model": InferResponse}

    @routes.post("/models/{name}/infer", **described)
    async def infer_serving(
        name: str, request: Request, principal: Annotated[Principal, predicts], x_deadline_ms: DeadlineHeader = None
    ) -> Response:
        """Classify with the version that serves. A request is answered whole or fails whole."""
        return await shell.answer(request, principal, (name, ""), x_deadline_ms)

    @routes.post("/models/{name}/versions/{version}/infer", **described)
    async def infer_version(
        name: str,
        version: str,
        request: Request,
        principal: Annotated[Principal, predicts],
        x_deadline_ms: DeadlineHeader = None,
    ) -> Response:
        """Classify with a fixed version, loading it first if need be."""
        return await shell.answer(request, principal, (name, version), x_deadline_ms)


def _nothing_else(routes: APIRouter, authenticator: Authenticator) -> None:
    reads = Depends(needs(authenticator, Permission.MODELS_READ))

    @routes.api_route("/{path:path}", methods=["GET", "POST"], include_in_schema=False, dependencies=[reads])
    async def unknown(path: str) -> Response:
        """Clients of the protocol look for the error in its form here, too."""
        raise NotFoundError(f"There is no /v2/{path[:80]} here, or not by this method.")


class _Shell:
    """One inference over HTTP."""

    def __init__(self, settings: Settings, plane: DataPlane, bodies: Bodies) -> None:
        self._settings = settings
        self._plane = plane
        self._bodies = bodies
        # Threads of our own and no semaphore: what a thread does goes on when the deadline of its request has passed.
        self._readers = ThreadPoolExecutor(_AT_ONCE, "bodies")

    async def answer(
        self, request: Request, principal: Principal, model: tuple[str, str], deadline_ms: str | None
    ) -> Response:
        began = time.monotonic()
        settings = self._settings
        deadline = deadline_of(deadline_ms, settings.inference_deadline_s, settings.inference_longest_deadline_s)
        with self._bodies.holding() as held:
            async with deadline.during("the request was read"):
                asked = await self._read(request, held)
            limit = until(deadline, began, asked.timeout_s)
            work = infer(self._plane, *model, asked, limit, request_id.get(), principal)
            inferred = await unless_gone(request, work)
        body, length = body_of(inferred, asked)
        return await _response(body, length, compression.accepted(request.headers.get("accept-encoding", "")))

    async def _read(self, request: Request, held: Held) -> Asked:
        body = await self._bodies.whole(request, held)
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            body = await self._apart(compression.unpacked, body, encoding, self._settings.inference_request_bytes)
            held.instead(len(body))
        asked = body, request.headers.get(_LENGTH), self._settings.inference_request_images
        return asked_of(*asked) if len(body) <= SMALL else await self._apart(asked_of, *asked)

    async def _apart(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *arguments)


async def _response(body: bytes, length: int | None, encoding: str | None) -> Response:
    headers = {} if length is None else {_LENGTH: str(length)}
    if encoding and len(body) >= compression.WORTH_IT:
        headers["content-encoding"] = encoding
        pack = partial(compression.packed, body, encoding)
        body = pack() if len(body) <= SMALL else await asyncio.to_thread(pack)
    headers["vary"] = "accept-encoding"
    return Response(body, 200, headers, "application/json" if length is None else "application/octet-stream")


def _or_503(ready: bool, response: Response) -> bool:
    if not ready:
        response.status_code = 503
    return ready
