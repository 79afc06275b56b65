"""Weights files over HTTP."""

from fastapi import APIRouter
from starlette.responses import Response

from services.ingest.dependencies import ModelsWriter, Parts
from services.ingest.idempotency import CarriedOutOnce
from services.ingest.weights import service
from services.ingest.weights.schemas import WeightsFile, WeightsRequest

router = APIRouter(tags=["weights"])


@router.post("/weights", status_code=201, response_model=WeightsFile)
def keep(request: WeightsRequest, principal: ModelsWriter, parts: Parts, once: CarriedOutOnce) -> Response:
    """Keep a finished upload as weights to start from."""
    answer = once.after(
        principal,
        request,
        lambda: service.keep(parts, principal, request.upload),
        lambda session, kept: service.noted(session, parts, principal, request.upload, kept),
    )
    service.release(parts, principal, request.upload)
    return answer
