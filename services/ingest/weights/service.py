"""Weights files of a site: kept by their hash. They are read by trainers only, and with weights_only=True."""

import hashlib
import logging
from collections.abc import Iterator

from sqlalchemy.orm import Session

from aimic.domain.site import Principal
from aimic.errors import ConflictError, InvalidInputError, UnavailableError
from services.ingest.audit.service import record
from services.ingest.dependencies import Ingest
from services.ingest.uploads import repository
from services.ingest.uploads.service import UploadService, finished_row, open_upload
from services.ingest.weights.schemas import WeightsFile

logger = logging.getLogger(__name__)

LIMIT = 4 << 30
"""Bytes; the largest of the ten networks has 550 MB."""
_MAGICS = (b"PK\x03\x04", b"\x80\x02")
"""torch.save's zip, and its older pickle; a safetensors file begins with a length and `{`."""


def keep(parts: Ingest, principal: Principal, upload_id: str) -> WeightsFile:
    """Store a finished upload under its hash; InvalidInputError when it is no weights file, ConflictError while an
    import reads it."""
    site = principal.site
    with parts.database.begin(site) as session:
        row = finished_row(session, parts, site, upload_id)
        if row.used_by is not None:
            raise ConflictError(
                f"An import is reading this upload of {row.filename} and removes it when it is done. Nothing was "
                "changed. To keep the file as weights, send it once more, as an upload of its own."
            )
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
    """Write down that the file was kept, and let the upload go, unless an import took it up meanwhile."""
    row = repository.find(session, principal.site, upload_id, lock=True)
    now = parts.database.now(session)
    if row is not None and row.used_by is None:
        row.expires_at = now
    record(session, now, principal.site, principal.name, "weights.add", kept.sha256)
    return kept


def release(parts: Ingest, principal: Principal, upload_id: str) -> None:
    """Remove the upload's own bytes if it is over. The weights are kept by now, so whoever sent them need not wait."""
    try:
        UploadService(parts).purge_if_over(principal.site, upload_id)
    except UnavailableError as error:  # it has expired, so the sweeper removes it later
        logger.info("an upload whose weights are kept stays for now", extra={"reason": error.message})


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
