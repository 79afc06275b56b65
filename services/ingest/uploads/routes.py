"""tus 1.0.0 at /uploads: core, creation, checksum, expiration, termination."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from aimic.domain.site import Permission
from aimic.errors import ConflictError
from aimic.web import PROBLEMS, problem_of
from services.ingest.dependencies import DatasetsWriter, Parts, permitted
from services.ingest.uploads.exchange import VERSION
from services.ingest.uploads.receiving import Body, received, turn
from services.ingest.uploads.schemas import ALGORITHMS, EXTENSIONS, checksum, metadata, number, tus_headers
from services.ingest.uploads.service import UploadService, check_offset

CONTENT_TYPE = "application/offset+octet-stream"


def _speaks_tus(request: Request) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise HTTPException(412, f"Say Tus-Resumable: {VERSION}.", {"tus-version": VERSION})


router = APIRouter(tags=["uploads"])
Tus = Depends(_speaks_tus)


def _service(parts: Parts) -> UploadService:
    return UploadService(parts)


Service = Annotated[UploadService, Depends(_service)]


@router.options("/uploads", dependencies=[Depends(permitted(Permission.DATASETS_WRITE))])
def capabilities(parts: Parts) -> Response:
    """What this server can do."""
    headers = {
        "tus-resumable": VERSION,
        "tus-version": VERSION,
        "tus-extension": EXTENSIONS,
        "tus-max-size": str(parts.settings.ingest_upload_limit),
        "tus-checksum-algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


@router.post("/uploads", dependencies=[Tus], status_code=201)
def create(request: Request, principal: DatasetsWriter, service: Service) -> Response:
    """Begin an upload, or find the one with the same fingerprint and length (200)."""
    length, told = number(request.headers, "upload-length"), metadata(request.headers)
    filename, fingerprint = told.get("filename") or "upload.bin", told.get("fingerprint")
    live, new = service.create(principal, length, filename, fingerprint, request.headers.get("upload-metadata"))
    headers = tus_headers(live) | {"location": f"{request.url.path}/{live.upload.id}"}
    return Response(status_code=201 if new else 200, headers=headers)


@router.head("/uploads/{upload_id}", dependencies=[Tus])
def offset(upload_id: str, principal: DatasetsWriter, service: Service) -> Response:
    """How many bytes are safe."""
    live = service.show(principal.site, upload_id)
    told = {} if live.metadata is None else {"upload-metadata": live.metadata}
    return Response(headers=tus_headers(live) | told)


@router.delete("/uploads/{upload_id}", dependencies=[Tus], status_code=204)
def terminate(upload_id: str, principal: DatasetsWriter, service: Service) -> Response:
    """Drop an upload and its bytes."""
    service.delete(principal.site, upload_id)
    return Response(status_code=204, headers={"tus-resumable": VERSION})


@router.patch("/uploads/{upload_id}", dependencies=[Tus], status_code=204)
async def append(upload_id: str, request: Request, principal: DatasetsWriter, service: Service) -> Response:
    """Add bytes at the offset; answered once they are stored and recorded."""
    if request.headers.get("content-type") != CONTENT_TYPE:
        raise HTTPException(415, f"Say Content-Type: {CONTENT_TYPE}.")
    begin, expected = number(request.headers, "upload-offset"), checksum(request.headers)
    try:
        async with turn(request):
            live = await run_in_threadpool(service.show, principal.site, upload_id)
            check_offset(live.upload.offset, begin)
            live = await received(request, Body(service, principal.site, live, expected))
    except ConflictError as error:
        if "offset" not in error.details:
            raise
        return _elsewhere(error)
    return Response(status_code=204, headers=tus_headers(live))


def _elsewhere(error: ConflictError) -> Response:
    """409 with the offset at which to go on: the sender need not ask for it."""
    PROBLEMS.labels("ingest", error.code).inc()
    answer = problem_of(error)
    answer.headers["upload-offset"] = str(error.details["offset"])
    return answer
