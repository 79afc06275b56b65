"""Weights files of a site: kept by their hash. They are read by trainers only, and with weights_only=True."""

import hashlib
from collections.abc import Iterator

from sqlalchemy.orm import Session

from aimic.domain.site import Principal
from aimic.errors import InvalidInputError
from services.ingest.audit.service import record
from services.ingest.dependencies import Ingest
from services.ingest.uploads import repository
from services.ingest.uploads.service import UploadService, finished_row, open_upload
from services.ingest.weights.schemas import WeightsFile

LIMIT = 4 << 30
"""Bytes; the largest of the ten networks has 550 MB."""
_MAGICS = (b"PK\x03\x04", b"\x80\x02")
"""torch.save's zip, and its older pickle; a safetensors file begins with a length and `{`."""


def keep(parts: Ingest, principal: Principal, upload_id: str) -> WeightsFile:
    """Store a finished upload under its hash; InvalidInputError when it is no weights file."""
    site = principal.site
    with parts.database.begin(site) as session:
        row = finished_row(session, parts, site, upload_id)
        name, file = open_upload(session, parts.blobs, site, upload_id)
        if not 0 < row.length <= LIMIT:
            raise InvalidInputError(f"{name} has {row.length:,} bytes; weights files have up to {LIMIT:,}.")
    with file:
        _check(name, file.read(16))
        file.seek(0)
        sha256 = _digest(iter(lambda: file.read(1 << 20), b""))
        key = f"{site}/weights/{sha256}"
        if not parts.blobs.exists(key):
            file.seek(0)
            parts.blobs.put(key, file)
    return WeightsFile(sha256=sha256, weights=f"file:{sha256}")


def noted(session: Session, parts: Ingest, principal: Principal, upload_id: str, kept: WeightsFile) -> WeightsFile:
    """Write down that the file was kept, and let the upload go."""
    row = repository.find(session, principal.site, upload_id, lock=True)
    now = parts.database.now(session)
    if row is not None:
        row.expires_at = now
    record(session, now, principal.site, principal.name, "weights.add", kept.sha256)
    return kept


def release(parts: Ingest, principal: Principal, upload_id: str) -> None:
    """Remove the upload's own bytes."""
    UploadService(parts).purge(principal.site, upload_id)


def _check(name: str, head: bytes) -> None:
    if not head.startswith(_MAGICS) and head[8:9] != b"{":
        raise InvalidInputError(
            f"{name} is no weights file: send what torch.save wrote (.pth, .pt) or a .safetensors file."
        )


def _digest(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
