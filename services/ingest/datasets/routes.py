"""Data sets over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response, StreamingResponse

from aimic.domain.dataset import Dataset, DatasetVersion, Refusal, SampleView
from aimic.web import begun
from services.ingest.datasets.export import export
from services.ingest.datasets.service import DatasetService
from services.ingest.datasets.thumbnails import LARGEST, SMALLEST, Thumbnails
from services.ingest.dependencies import DatasetsReader, Parts
from services.ingest.paging import Page, Paging

router = APIRouter(tags=["datasets"])
_thumbnails = Thumbnails()
_IMAGE_HEADERS = {
    # Named by its bytes, so it never changes; private, and for a day only, since it may be deleted.
    "cache-control": "private, max-age=86400, immutable",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'",
}


def _service(parts: Parts) -> DatasetService:
    return DatasetService(parts)


Service = Annotated[DatasetService, Depends(_service)]
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[int, Path(ge=1, lt=2**31)]


@router.get("/datasets")
def all_datasets(page: Paging, principal: DatasetsReader, service: Service) -> Page[Dataset]:
    """Data sets by name."""
    return service.all(principal.site, page)


@router.get("/datasets/{name}")
def show(name: str, principal: DatasetsReader, service: Service) -> Dataset:
    """One data set with its newest version."""
    return service.show(principal.site, name)


@router.get("/datasets/{name}/versions/{version}")
def show_version(name: str, version: Version, principal: DatasetsReader, service: Service) -> DatasetVersion:
    """One version with what is worth knowing about it."""
    return service.version(principal.site, name, version)


@router.get("/datasets/{name}/versions/{version}/samples")
def samples(
    name: str,
    version: Version,
    page: Paging,
    principal: DatasetsReader,
    service: Service,
    label: Annotated[str | None, Query(max_length=200)] = None,
) -> Page[SampleView]:
    """The samples of a version, of one class if asked."""
    return service.samples(principal.site, name, version, label, page)


@router.get("/datasets/{name}/versions/{version}/refused")
def refused(name: str, version: Version, page: Paging, principal: DatasetsReader, service: Service) -> Page[Refusal]:
    """The files that stayed out, each with the reason."""
    return service.refused(principal.site, name, version, page)


@router.get("/datasets/{name}/samples/{sha256}/image")
def image(
    name: str,
    sha256: Sha256,
    principal: DatasetsReader,
    service: Service,
    size: Annotated[int | None, Query(ge=SMALLEST, le=LARGEST)] = None,
) -> Response:
    """A PNG thumbnail of `size` pixels, or the stored bytes without a size."""
    if size is not None:
        png = service.thumbnail(principal.site, name, sha256, size, _thumbnails)
        return Response(png, media_type="image/png", headers=_IMAGE_HEADERS)
    found = service.image(principal, name, sha256)
    headers = _IMAGE_HEADERS | {"content-length": str(found.size)}
    return StreamingResponse(begun(found.pieces), media_type=found.media_type, headers=headers)


@router.get("/datasets/{name}/versions/{version}/export")
def export_version(name: str, version: Version, principal: DatasetsReader, parts: Parts) -> Response:
    """A version as a zip: CLASS/filename and labels.csv."""
    pieces = begun(export(parts, principal, name, version))
    headers = {"content-disposition": f'attachment; filename="{name}-{version}.zip"', "cache-control": "no-store"}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)
