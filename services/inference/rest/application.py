"""The REST application: routes, problems, request ids."""

from collections.abc import Callable
from typing import Any, cast

from fastapi import FastAPI
from starlette.types import ASGIApp

from aimic.auth import Authenticator
from aimic.web import RequestContext
from services.inference.admission import ByteBudget
from services.inference.dataplane import DataPlane
from services.inference.oip.errors import refusal
from services.inference.oip.rest import MODELS as PROTOCOL_MODELS
from services.inference.oip.rest import router as protocol_router
from services.inference.rest import problems
from services.inference.rest.bodies import Bodies, BodyLimits
from services.inference.rest.objects import Objects
from services.inference.rest.references import References, Samples
from services.inference.rest.routes import PREFIX, router
from services.inference.rest.shedding import Shedding, problem
from services.inference.settings import Settings


def _always() -> bool:
    return True


def api(
    settings: Settings,
    plane: DataPlane,
    ready: Callable[[], bool] = _always,
    samples: Samples | None = None,
    objects: Objects | None = None,
) -> FastAPI:
    """The routes with their errors; OpenAPI under `/inference/v1/openapi.json`."""
    app = FastAPI(
        title="AIMIC inference",
        version="1",
        summary="Classify microscopic images with the models that the registry serves.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    limits = BodyLimits(
        settings.inference_request_bytes, settings.inference_image_bytes, settings.inference_request_images
    )
    bodies = Bodies(limits, ByteBudget(settings.inference_body_bytes), References(samples, objects))
    authenticator = Authenticator(settings)
    app.include_router(router(settings, authenticator, plane, bodies))
    app.include_router(protocol_router(settings, authenticator, plane, bodies, ready))
    return app


def application(
    settings: Settings,
    plane: DataPlane,
    ready: Callable[[], bool] = _always,
    samples: Samples | None = None,
    objects: Objects | None = None,
) -> ASGIApp:
    """The API with a request id around everything.

    `ready` says whether we should get requests. Without `samples` and `objects`, images can only be sent, not named.
    """
    inner = RequestContext(api(settings, plane, ready, samples, objects), "inference")
    return Shedding(inner, plane.door, {PREFIX: problem, PROTOCOL_MODELS: refusal})


def openapi() -> dict[str, Any]:
    """The OpenAPI document, without anything opened: committed as docs/openapi/inference.json, checked for drift."""
    # Routes touch the data plane only when they are called, and here none is.
    return api(Settings(), cast(DataPlane, None)).openapi()
