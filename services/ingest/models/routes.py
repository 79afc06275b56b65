"""The registry over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from starlette.responses import Response, StreamingResponse

from aimic.domain.executor import MACHINE_CLASS, ExecutorChoice
from aimic.domain.model import ModelVersion, ServingEntry
from aimic.web import begun
from services.ingest.dependencies import (
    ModelsPromoter,
    ModelsReader,
    ModelsWriter,
    Parts,
    ServingReader,
    ServingWriter,
)
from services.ingest.idempotency import CarriedOutOnce
from services.ingest.models import executors, repository, service
from services.ingest.models.executors import Place
from services.ingest.models.schemas import ModelImport
from services.ingest.paging import Page, Paging, cut
from services.ingest.ranges import begins_at

router = APIRouter(tags=["models"])
MachineClass = Annotated[str, Path(pattern=f"^{MACHINE_CLASS}$")]


@router.get("/models")
def models(
    page: Paging,
    principal: ModelsReader,
    parts: Parts,
    name: Annotated[str | None, Query(max_length=63)] = None,
) -> Page[ModelVersion]:
    """All versions, newest first; of one name with ?name=."""
    with parts.database.read(principal.site) as session:
        rows = repository.newest(session, principal.site, name, page.limit, page.after(2))
    return cut(rows, page, service.shown, lambda row: (row.name, row.version))


@router.post("/models/import", status_code=201, response_model=ModelVersion)
def import_model(request: ModelImport, principal: ModelsWriter, parts: Parts, once: CarriedOutOnce) -> Response:
    """Register an exported bundle; every byte is checked."""
    return once.after(
        principal,
        request,
        lambda: service.import_upload(parts, principal, request.upload, request.name),
        lambda session, bundle: service.shown(
            service.register_import(
                session, principal, bundle, request.upload, request.name, parts.database.now(session)
            )
        ),
    )


@router.get("/models/{name}")
def model(name: str, principal: ModelsReader, parts: Parts) -> ModelVersion:
    """The serving version, else the newest."""
    with parts.database.read(principal.site) as session:
        return service.shown(repository.serving(session, principal.site, name))


@router.get("/models/{name}/versions/{version}")
def version(name: str, version: int, principal: ModelsReader, parts: Parts) -> ModelVersion:
    """One version."""
    with parts.database.read(principal.site) as session:
        return service.shown(repository.version(session, principal.site, name, version))


@router.get("/models/{name}/versions/{version}/bundle", response_class=StreamingResponse)
def bundle(
    name: str, version: int, principal: ModelsReader, parts: Parts, range: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """The exported bundle, one file; with `Range: bytes=N-` what is left of a download that broke."""
    with parts.database.read(principal.site) as session:
        row = repository.version(session, principal.site, name, version)
    start = begins_at(range, row.size)
    headers = {
        "accept-ranges": "bytes",
        "content-length": str(row.size - start),
        "content-disposition": f'attachment; filename="{name}-{version}.aimic"',
        "etag": f'"{row.bundle_hash}"',
    }
    if start:
        headers["content-range"] = f"bytes {start}-{row.size - 1}/{row.size}"
    pieces = begun(parts.blobs.read(row.bundle_key, start))
    status = 206 if start else 200
    return StreamingResponse(pieces, status, headers, media_type="application/octet-stream")


@router.post("/models/{name}/versions/{version}/promote")
def promote(name: str, version: int, principal: ModelsPromoter, parts: Parts) -> ModelVersion:
    """Let this version serve; the one that served becomes a candidate."""
    with parts.database.begin(principal.site) as session:
        return service.shown(service.promote(session, principal, name, version, parts.database.now(session)))


@router.get("/models/{name}/versions/{version}/executors/{machine_class}")
def executor(
    name: str, version: int, machine_class: MachineClass, principal: ServingReader, parts: Parts
) -> ExecutorChoice:
    """With what this version runs on such machines, as the first of them measured it."""
    with parts.database.read(principal.site) as session:
        return executors.chosen(session, principal.site, name, version, machine_class)


@router.put("/models/{name}/versions/{version}/executors/{machine_class}")
def choose_executor(
    name: str,
    version: int,
    machine_class: MachineClass,
    choice: ExecutorChoice,
    principal: ServingWriter,
    parts: Parts,
) -> ExecutorChoice:
    """Tell what was measured. The first that tells decides for all machines of the class: its choice is answered."""
    with parts.database.begin(principal.site) as session:
        now = parts.database.now(session)
        return executors.choose(session, principal, Place(name, version, machine_class), choice, now)


@router.get("/serving")
def serving(principal: ServingReader, parts: Parts) -> Page[ServingEntry]:
    """What inference should have loaded."""
    with parts.database.read(principal.site) as session:
        return Page(items=service.serving_entries(session, principal))
