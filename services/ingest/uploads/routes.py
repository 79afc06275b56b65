"""tus 1.0.0 at /uploads: core, creation, checksum, expiration, termination."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from aimic.domain.site import Permission
from aimic.errors import TooLargeError
from services.ingest.dependencies import DatasetsWriter, Parts, permitted
from services.ingest.uploads.schemas import (
    ALGORITHMS,
    EXTENSIONS,
    VERSION,
    Checksum,
    checksum,
    metadata,
    number,
    tus_headers,
)
from services.ingest.uploads.service import PIECE, Live, Staged, UploadService, check_offset

CONTENT_TYPE = "application/offset+octet-stream"
_MISMATCH = 460
"""tus' own status for a checksum that doesn't hold."""


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
    told = metadata(request.headers)
    length = number(request.headers, "upload-length")
    live, new = service.create(principal, length, told.get("filename") or "upload.bin", told.get("fingerprint"))
    headers = tus_headers(live) | {"location": f"{request.url.path}/{live.upload.id}"}
    return Response(status_code=201 if new else 200, headers=headers)


@router.head("/uploads/{upload_id}", dependencies=[Tus])
def offset(upload_id: str, principal: DatasetsWriter, service: Service) -> Response:
    """How many bytes are safe."""
    return Response(headers=tus_headers(service.show(principal.site, upload_id)))


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
    live = await run_in_threadpool(service.show, principal.site, upload_id)
    check_offset(live.upload.offset, begin)
    body = _Body(service, principal.site, live, expected)
    try:
        await body.receive(request)
        live = await body.finish()
    except ClientDisconnect:
        # What came whole is kept, so that the next try begins there; nobody reads this answer.
        live = await body.interrupted()
    except BaseException:
        await body.abandon()
        raise
    return Response(status_code=204, headers=tus_headers(live))


class _Body:
    """One PATCH: pieces are stored as they come; with a checksum they count only when it holds."""

    def __init__(self, service: UploadService, site: str, live: Live, expected: Checksum | None) -> None:
        self._service, self._site, self._live, self._checksum = service, site, live, expected
        self._buffer = bytearray()
        self._staged: list[Staged] = []
        self._room = live.upload.length - live.upload.offset

    async def receive(self, request: Request) -> None:
        async for data in request.stream():
            self._room -= len(data)
            if self._room < 0:
                raise TooLargeError("More bytes came than the upload was said to have; the surplus was not taken.")
            if self._checksum:
                self._checksum.digest.update(data)
            self._buffer += data
            while len(self._buffer) >= PIECE:
                await self._store(PIECE)

    async def finish(self) -> Live:
        if self._buffer:
            await self._store(len(self._buffer))
        if self._checksum:
            if not self._checksum.holds():
                raise HTTPException(_MISMATCH, "The bytes changed on their way; nothing of them was kept. Send again.")
            await self._record()
        return self._live

    async def interrupted(self) -> Live:
        if self._checksum:
            await self.abandon()
        elif self._buffer:
            await self._store(len(self._buffer))
        return self._live

    async def abandon(self) -> None:
        await run_in_threadpool(self._service.discard, self._staged)

    async def _store(self, size: int) -> None:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        upload = self._live.upload
        self._staged.append(await run_in_threadpool(self._service.stage, self._site, upload.id, data))
        if not self._checksum:
            await self._record()

    async def _record(self) -> None:
        upload = self._live.upload
        self._live = await run_in_threadpool(self._service.record, self._site, upload.id, upload.offset, self._staged)
        self._staged = []
