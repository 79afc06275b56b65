"""Evaluations over HTTP."""

from fastapi import APIRouter
from starlette.responses import Response

from aimic.domain.model import Evaluation
from services.ingest.dependencies import ModelsReader, ModelsWriter, Parts
from services.ingest.evaluations import service
from services.ingest.evaluations.schemas import EvaluationRequest
from services.ingest.idempotency import CarriedOutOnce

router = APIRouter(tags=["evaluations"])


@router.post("/models/{name}/versions/{version}/evaluate", status_code=202, response_model=Evaluation)
def start(
    name: str, version: int, request: EvaluationRequest, principal: ModelsWriter, parts: Parts, once: CarriedOutOnce
) -> Response:
    """Judge a model on images that it could not know; all others are listed with the reason."""
    return once.after(
        principal,
        request,
        lambda: service.choose(parts, principal, name, version, request),
        lambda session, choice: service.start(parts, session, principal, choice),
        status=202,
    )


@router.get("/evaluations/{evaluation_id}")
def show(evaluation_id: str, principal: ModelsReader, parts: Parts) -> Evaluation:
    """An evaluation as it is now."""
    return service.show(parts, principal, evaluation_id)
