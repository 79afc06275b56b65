"""HTTP in and out; the decisions are the data plane's."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request

from aimic.auth import Authenticator
from aimic.disconnect import unless_gone
from aimic.domain.prediction import PredictResponse
from aimic.domain.site import Permission, Principal
from aimic.telemetry import request_id
from services.inference.dataplane import DataPlane
from services.inference.rest.bodies import FIELD, Bodies
from services.inference.rest.calls import deadline_of, needs
from services.inference.rest.problems import PROBLEMS
from services.inference.rest.references import ObjectReferences, SampleReferences
from services.inference.rest.schemas import ModelState, ModelStates, state_of
from services.inference.settings import Settings

PREFIX = "/inference/v1"

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PARTS = {
    "schema": {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": _PARTS,
            "application/json": {
                "schema": {"anyOf": [SampleReferences.model_json_schema(), ObjectReferences.model_json_schema()]}
            },
        },
    }
}
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
DeadlineHeader = Annotated[str | None, Header(alias="X-Deadline-Ms")]


def router(settings: Settings, authenticator: Authenticator, plane: DataPlane, bodies: Bodies) -> APIRouter:
    """The routes of `/inference/v1`."""
    routes = APIRouter(prefix=PREFIX, responses=PROBLEMS)
    _reading(routes, authenticator, plane)
    _predicting(routes, settings, authenticator, plane, bodies)
    return routes


def _reading(routes: APIRouter, authenticator: Authenticator, plane: DataPlane) -> None:
    reads = Depends(needs(authenticator, Permission.MODELS_READ))

    @routes.get("/models")
    async def list_models(principal: Annotated[Principal, reads]) -> ModelStates:
        """Every version that the registry doesn't count as retired, and where it stands here."""
        return ModelStates(items=tuple(map(state_of, plane.catalogue.at(principal.site))))

    @routes.get("/models/{name}")
    async def show_model(name: str, principal: Annotated[Principal, reads]) -> ModelState:
        """The version that answers requests which name none."""
        return state_of(plane.catalogue.resolve(principal.site, name, None))

    @routes.get("/models/{name}/versions/{version}")
    async def show_version(name: str, version: Version, principal: Annotated[Principal, reads]) -> ModelState:
        """One version."""
        return state_of(plane.catalogue.resolve(principal.site, name, version))


def _predicting(
    routes: APIRouter, settings: Settings, authenticator: Authenticator, plane: DataPlane, bodies: Bodies
) -> None:
    predicts = Depends(needs(authenticator, Permission.PREDICT))

    async def answer(
        request: Request, principal: Principal, name: str, version: int | None, header: str | None
    ) -> PredictResponse:
        deadline = deadline_of(header, settings.inference_deadline_s, settings.inference_longest_deadline_s)
        with bodies.holding() as held:
            async with deadline.during("the request was read"):
                images = await bodies.images(request, held, principal)
            work = plane.predict(name, version, images, deadline, request_id.get(), principal=principal)
            return await unless_gone(request, work)

    @routes.post("/models/{name}/predict", openapi_extra=_BODY)
    async def predict(
        name: str,
        request: Request,
        principal: Annotated[Principal, predicts],
        x_deadline_ms: DeadlineHeader = None,
    ) -> PredictResponse:
        """Classify an image (raw body), several (multipart), or samples of a data set or objects in S3 (JSON)."""
        return await answer(request, principal, name, None, x_deadline_ms)

    @routes.post("/models/{name}/versions/{version}/predict", openapi_extra=_BODY)
    async def predict_with_version(
        name: str,
        version: Version,
        request: Request,
        principal: Annotated[Principal, predicts],
        x_deadline_ms: DeadlineHeader = None,
    ) -> PredictResponse:
        """Classify with a fixed version, loading it first if need be."""
        return await answer(request, principal, name, version, x_deadline_ms)
