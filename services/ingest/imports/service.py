"""Imports as a person sees them: asked for, shown, and what was refused."""

import re
from collections.abc import Sequence
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from aimic.domain.dataset import Import, ImportRequest, ImportStatus, Refusal
from aimic.domain.job import Status
from aimic.domain.labels import compile_rule
from aimic.domain.site import Principal
from aimic.errors import ConflictError, InvalidInputError, NotFoundError
from services.ingest.audit.service import record
from services.ingest.database import announce
from services.ingest.datasets.tables import DatasetRow
from services.ingest.dependencies import Ingest
from services.ingest.imports import repository
from services.ingest.imports.tables import ImportRow
from services.ingest.paging import Page, PageRequest, cut
from services.ingest.uploads.service import finished_rows
from services.ingest.uploads.tables import UploadRow
from services.ingest.writing import insert_new

WORKER = "imports"
MAX_UPLOADS = 10_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class ImportService:
    """The decisions about imports of all sites."""

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts

    def start(self, session: Session, principal: Principal, request: ImportRequest) -> Import:
        """Record an import for the worker, in a unit of work of the principal's site.

        The same import that is still running is shown instead of making a second.

        InvalidInputError for a name or rule that can't be followed and for unfinished uploads; ConflictError
        when another import is reading one of the uploads.
        """
        check(request)
        uploads = finished_rows(session, self._parts, principal.site, request.uploads)
        if running := self._running(session, principal.site, request, uploads):
            return view(running)
        row = self._new(session, principal, request)
        for upload in uploads:
            upload.used_by = row.id
        record(session, row.created_at, row.site, row.created_by, "import.start", row.id, dataset=row.dataset)
        announce(session, WORKER)
        return view(row)

    def show(self, site: str, import_id: str) -> Import:
        """The state of an import."""
        with self._parts.database.read(site) as session:
            return view(_found(session, site, import_id))

    def refused(self, site: str, import_id: str, page: PageRequest) -> Page[Refusal]:
        """Files that did not go in, in the order in which they came."""
        after = page.after()
        with self._parts.database.read(site) as session:
            _found(session, site, import_id)
            position = -1 if after is None else int(after[0])
            rows = repository.refusals(session, site, import_id, position, page.limit + 1)
        return cut(rows, page, lambda row: Refusal(name=row[1], code=row[2], reason=row[3]), lambda row: (row[0],))

    def _running(
        self, session: Session, site: str, request: ImportRequest, uploads: Sequence[UploadRow]
    ) -> ImportRow | None:
        users = {upload.used_by for upload in uploads if upload.used_by}
        row = repository.open_import_of(session, site, users) if users else None
        if row is None:
            return None
        same = (row.dataset, tuple(row.uploads), row.rule)
        if same == (request.dataset, request.uploads, request.labels.model_dump_json()):
            return row
        raise ConflictError(
            f"The import into {row.dataset} is still reading this upload. Wait until it is done, then import again."
        )

    def _new(self, session: Session, principal: Principal, request: ImportRequest) -> ImportRow:
        now = self._parts.database.now(session)
        made = {"site": principal.site, "created_by": principal.name, "created_at": now}
        # Two first imports at once both say that there is a data set, and it is made once.
        insert_new(session, DatasetRow, [{"id": uuid4().hex, "name": request.dataset, "classes": [], **made}])
        named = select(DatasetRow).where(DatasetRow.site == principal.site, DatasetRow.name == request.dataset)
        dataset = session.scalars(named).one()
        row = ImportRow(
            id=uuid4().hex,
            dataset_id=dataset.id,
            dataset=dataset.name,
            uploads=list(request.uploads),
            rule=request.labels.model_dump_json(),
            status=Status.READY,
            phase="waiting",
            attempt=0,
            fence=0,
            seen=0,
            stored=0,
            known=0,
            refused=0,
            ignored=0,
            **made,
        )
        session.add(row)
        return row


def view(row: ImportRow) -> Import:
    """An import as it is told."""
    return Import(
        id=row.id,
        dataset=row.dataset,
        status=ImportStatus(row.status),
        phase=row.phase,
        seen=row.seen,
        total=row.total,
        stored=row.stored,
        known=row.known,
        refused=row.refused,
        ignored=row.ignored,
        version=row.version,
        error=row.error,
        eta_s=row.eta_s,
        created_at=row.created_at,
    )


def topic(import_id: str) -> str:
    """The key under which changes of an import are announced."""
    return f"import/{import_id}"


def _found(session: Session, site: str, import_id: str) -> ImportRow:
    row = repository.find(session, site, import_id)
    if row is None:
        raise NotFoundError("There is no such import.")
    return row


def check(request: ImportRequest) -> None:
    """InvalidInputError for a name, a number of uploads or a rule that can't be followed."""
    if not _NAME.fullmatch(request.dataset):
        raise InvalidInputError(
            f"{request.dataset[:60]!r} can't name a data set. Take 1 to 40 letters (a to z), digits, dots, dashes "
            "or underscores, beginning with a letter or digit."
        )
    if not 1 <= len(request.uploads) <= MAX_UPLOADS or len(set(request.uploads)) != len(request.uploads):
        raise InvalidInputError(f"An import takes 1 to {MAX_UPLOADS:,} uploads, each once.")
    compile_rule(request.labels)
