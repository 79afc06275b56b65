"""Resumable uploads: what is acknowledged is stored and recorded, piece by piece."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO
from uuid import uuid4

from sqlalchemy.orm import Session

from aimic import faults
from aimic.domain.dataset import Upload
from aimic.domain.site import Principal
from aimic.errors import ConflictError, InvalidInputError, NotFoundError, TooLargeError
from aimic.ports.blobs import Blobs
from services.ingest.database import seconds
from services.ingest.dependencies import Ingest
from services.ingest.tasks.repository import let_die
from services.ingest.uploads import repository
from services.ingest.uploads.reading import open_pieces
from services.ingest.uploads.tables import PieceRow, UploadRow
from services.ingest.writing import serialised

PIECE = 8 << 20
"""Bytes of one stored piece, and of the memory that one PATCH takes."""
SWEEP_EVERY_S = 60.0
_SWEEP_BATCH = 100
_DELETE_AT_ONCE = 8
_LATE_S = 900.0
"""No PATCH goes on for so long after its upload has ended."""


@dataclass(frozen=True)
class Live:
    """An upload and when it will be forgotten."""

    upload: Upload
    expires_at: datetime
    metadata: str | None = None
    """Upload-Metadata as it was sent at the creation."""


@dataclass(frozen=True)
class Staged:
    """A piece that is stored but counts only once it is recorded."""

    key: str
    size: int


class UploadService:
    """The decisions about uploads of all sites."""

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts
        self._ttl = seconds(parts.settings.ingest_upload_ttl_s)

    def create(
        self, principal: Principal, length: int, filename: str, fingerprint: str | None, told: str | None = None
    ) -> tuple[Live, bool]:
        """A new upload, or the live one with this fingerprint and length; and whether it is new.

        `told`: the client's Upload-Metadata as it came, to be said again.
        """
        limit = self._parts.settings.ingest_upload_limit
        if length > limit:
            raise TooLargeError(
                f"{filename} has {length:,} bytes and the limit is {limit:,}. Import it in several parts: "
                "each part is added to the same data set."
            )
        with self._parts.database.begin(principal.site) as session:
            if fingerprint:
                serialised(session, "upload", principal.site, fingerprint)
            now = self._parts.database.now(session)
            if fingerprint and (same := repository.find_same(session, principal.site, fingerprint, length, now)):
                same.expires_at = now + self._ttl
                return _live(same), False
            row = UploadRow(
                site=principal.site,
                id=uuid4().hex,
                filename=filename,
                length=length,
                offset=0,
                pieces=0,
                fingerprint=fingerprint,
                told=told,
                expires_at=now + self._ttl,
                created_by=principal.name,
                created_at=now,
            )
            session.add(row)
            return _live(row), True

    def show(self, site: str, upload_id: str) -> Live:
        """How far it is; NotFoundError when it never was, was used up, or has expired."""
        with self._parts.database.read(site) as session:
            return _live(live_row(session, self._parts, site, upload_id))

    def stage(self, site: str, upload_id: str, data: bytes) -> Staged:
        """Store a piece under a name of its own, so that two writers can't overwrite each other's."""
        key = f"{site}/uploads/{upload_id}/{uuid4().hex}"
        self._parts.blobs.put(key, data)
        faults.point("ingest.upload.stored")
        return Staged(key, len(data))

    def record(self, site: str, upload_id: str, offset: int, staged: Sequence[Staged]) -> Live:
        """Make staged pieces part of the upload, if it still ends at `offset`; ConflictError otherwise."""
        with self._parts.database.begin(site) as session:
            row = live_row(session, self._parts, site, upload_id, lock=True)
            check_offset(row.offset, offset)
            for piece in staged:
                session.add(
                    PieceRow(
                        site=site,
                        upload_id=upload_id,
                        number=row.pieces,
                        start=row.offset,
                        size=piece.size,
                        key=piece.key,
                    )
                )
                row.pieces += 1
                row.offset += piece.size
            row.expires_at = self._parts.database.now(session) + self._ttl
        faults.point("ingest.upload.recorded")
        return _live(row)

    def discard(self, staged: Iterable[Staged]) -> None:
        """Drop pieces that were never recorded."""
        for piece in staged:
            self._parts.blobs.delete(piece.key)

    def delete(self, site: str, upload_id: str) -> None:
        """End an upload at its owner's wish; ConflictError while an import reads it."""
        with self._parts.database.begin(site) as session:
            row = live_row(session, self._parts, site, upload_id, lock=True)
            if row.used_by is not None:
                raise ConflictError("An import is reading this upload; it goes by itself when the import is done.")
            row.expires_at = self._parts.database.now(session)
        self.purge(site, upload_id)

    def purge(self, site: str, upload_id: str) -> None:
        """Remove the bytes, then the record: a crash in between is made good by the sweeper."""
        blobs, prefix = self._parts.blobs, f"{site}/uploads/{upload_id}/"
        with self._parts.database.read(site) as session:
            keys = {piece.key for piece in repository.pieces_of(session, site, upload_id)}
        # Housekeeping: the listing also finds what was staged and never recorded.
        keys |= {blob.key for blob in blobs.list(prefix)}
        with ThreadPoolExecutor(_DELETE_AT_ONCE, "purge") as pool:
            # Outside of any unit of work: thousands of deletes may take seconds, in which others want to write.
            list(pool.map(blobs.delete, keys))
        with self._parts.database.begin(site) as session:
            repository.remove(session, site, upload_id)
            # A PATCH that another replica was storing meanwhile is refused, and its bytes may be left.
            let_die(session, site, {prefix}, self._parts.database.now(session), _LATE_S)

    def sweep(self) -> int:
        """Forget expired uploads of all sites; how many went."""
        with self._parts.database.system() as session:
            gone = repository.expired(session, self._parts.database.now(session), _SWEEP_BATCH)
        for site, upload_id in gone:
            self.purge_if_over(site, upload_id)
        return len(gone)

    def purge_if_over(self, site: str, upload_id: str) -> None:
        """Remove an upload that nobody wants any more, now or later."""
        if self._is_over(site, upload_id):
            self.purge(site, upload_id)

    def _is_over(self, site: str, upload_id: str) -> bool:
        """Whether nobody wants it: under its lock, since a piece may have been recorded while it was looked at. What
        is over once stays so, as nobody takes up an expired upload."""
        with self._parts.database.begin(site) as session:
            row = repository.find(session, site, upload_id, lock=True)
            return row is not None and row.used_by is None and row.expires_at <= self._parts.database.now(session)


class Sweeper:
    """The worker that forgets expired uploads."""

    name = "uploads"

    def __init__(self, parts: Ingest) -> None:
        self._service = UploadService(parts)
        self._next = 0.0

    def run_one(self) -> bool:
        """Sweep when it is time again."""
        if time.monotonic() < self._next:
            return False
        if self._service.sweep() == _SWEEP_BATCH:
            return True
        self._next = time.monotonic() + SWEEP_EVERY_S
        return False


def live_row(session: Session, parts: Ingest, site: str, upload_id: str, *, lock: bool = False) -> UploadRow:
    """The row of an upload that is still there; NotFoundError otherwise."""
    row = repository.find(session, site, upload_id, lock=lock)
    if row is None or (row.used_by is None and row.expires_at <= parts.database.now(session)):
        raise NotFoundError("There is no such upload (any more). Send the file again.")
    return row


def finished_row(session: Session, parts: Ingest, site: str, upload_id: str) -> UploadRow:
    """The locked row of a complete upload; InvalidInputError says how much is missing."""
    row = live_row(session, parts, site, upload_id, lock=True)
    if row.offset != row.length:
        raise InvalidInputError(
            f"The upload of {row.filename} isn't complete: {row.offset:,} of {row.length:,} bytes are here. "
            "Finish it first; it goes on where it stopped."
        )
    return row


def finished_rows(session: Session, parts: Ingest, site: str, upload_ids: Sequence[str]) -> list[UploadRow]:
    """As `finished_row`, of several, in the order given."""
    # Locked by id, whatever the order given, so that two imports of the same uploads never wait for each other.
    rows = {upload_id: finished_row(session, parts, site, upload_id) for upload_id in sorted(upload_ids)}
    return [rows[upload_id] for upload_id in upload_ids]


def open_upload(session: Session, blobs: Blobs, site: str, upload_id: str) -> tuple[str, BinaryIO]:
    """(filename, seekable file) of an upload; the file outlives the session."""
    row = repository.find(session, site, upload_id)
    if row is None:
        raise NotFoundError("There is no such upload (any more). Send the file again.")
    return row.filename, open_pieces(blobs, repository.pieces_of(session, site, upload_id), row.length)


def check_offset(have: int, given: int) -> None:
    """ConflictError when a PATCH begins elsewhere than the upload ends."""
    if have != given:
        raise ConflictError(
            f"The upload ends at byte {have:,}, not {given:,}. Ask for its offset and go on from there.",
            offset=have,
        )


def _live(row: UploadRow) -> Live:
    upload = Upload(id=row.id, filename=row.filename, length=row.length, offset=row.offset, fingerprint=row.fingerprint)
    return Live(upload, row.expires_at, row.told)
