"""Imports over HTTP."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Depends
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from aimic.domain.dataset import Import, ImportRequest, ImportStatus, Refusal
from services.ingest.dependencies import DatasetsReader, DatasetsWriter, Parts
from services.ingest.idempotency import CarriedOutOnce
from services.ingest.imports.service import ImportService, topic
from services.ingest.paging import Page, Paging
from services.ingest.progress import Batch, sse, stream

router = APIRouter(tags=["imports"])


def _service(parts: Parts) -> ImportService:
    return ImportService(parts)


Service = Annotated[ImportService, Depends(_service)]


@router.post("/imports", status_code=202, response_model=Import)
def start(request: ImportRequest, principal: DatasetsWriter, service: Service, once: CarriedOutOnce) -> Response:
    """Bring finished uploads into a data set, as its next version."""
    return once.run(principal, request, lambda session: service.start(session, principal, request), 202)


@router.get("/imports/{import_id}")
def show(import_id: str, principal: DatasetsReader, service: Service) -> Import:
    """How far an import is."""
    return service.show(principal.site, import_id)


@router.get("/imports/{import_id}/refused")
def refused(import_id: str, page: Paging, principal: DatasetsReader, service: Service) -> Page[Refusal]:
    """The files that did not go in, each with the reason."""
    return service.refused(principal.site, import_id, page)


@router.get("/imports/{import_id}/events")
def events(import_id: str, principal: DatasetsReader, parts: Parts, service: Service) -> EventSourceResponse:
    """The states of an import as they come, until it is done or failed."""
    service.show(principal.site, import_id)

    def poll(position: int) -> Batch:
        state = service.show(principal.site, import_id)
        data = state.model_dump_json()
        # The position is a digest of the state: what was said once is not said again.
        digest = int.from_bytes(hashlib.sha256(data.encode()).digest()[:7])
        over = state.status in {ImportStatus.DONE, ImportStatus.FAILED}
        changed = [] if digest == position else [sse("import", data)]
        return Batch(changed, digest, over)

    return stream(poll, -1, parts.signals, topic(import_id))
