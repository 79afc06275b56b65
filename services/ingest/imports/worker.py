"""The worker of imports: claims one, brings its files in batch by batch, and makes the next version."""

import logging
import os
from collections.abc import Callable, Sequence
from uuid import uuid4

from aimic.domain.dataset import LabelRule
from aimic.domain.job import Status
from aimic.domain.work import MAX_ATTEMPTS
from aimic.errors import AimicError, ConflictError, OverloadedError, StaleFenceError, UnavailableError
from services.ingest.database import announce, seconds
from services.ingest.datasets import unnamed
from services.ingest.datasets.versions import make_version
from services.ingest.dependencies import Ingest
from services.ingest.imports import repository
from services.ingest.imports.bringing import Batches
from services.ingest.imports.candidates import Candidates
from services.ingest.imports.lease import SHARE, Held, StoppedError, locked, update
from services.ingest.imports.service import WORKER, topic
from services.ingest.imports.sources import UploadedFiles, labeller, total
from services.ingest.imports.tables import ImportRow
from services.ingest.leases import hand_back, take
from services.ingest.sites.service import site_key
from services.ingest.uploads.repository import find as find_upload
from services.ingest.uploads.service import UploadService

logger = logging.getLogger(__name__)

AGAIN_S = 2.0
"""Seconds between two tries to write down that an import waits, while the records are away."""
_PASSING = (UnavailableError, OverloadedError, ConflictError)


class ImportWorker:
    """One import at a time; a killed one goes on from its last batch."""

    name = WORKER

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts
        self._holder = f"ingest-{os.getpid()}-{uuid4().hex[:8]}"

    def run_one(self) -> bool:
        """Work on one import until it is over, handed back, or lost; False when there is none."""
        row = self._claim()
        if row is None:
            return False
        with Held(self._parts, row.site, row.id, row.fence) as held:
            try:
                self._try(held, row)
            except StaleFenceError:
                logger.info("an import was taken over by another worker", extra={"import_id": row.id})
        return True

    def _try(self, held: Held, row: ImportRow) -> None:
        try:
            self._run(held, row)
        except StaleFenceError:
            raise
        except StoppedError:
            self._hand_back(held)
        except _PASSING as error:
            self._wait(held, row.attempt, error)
        except AimicError as error:
            self._fail(held, error.message)
        except Exception:
            self._give_up_or_retry(held, row.attempt)
            raise

    def _claim(self) -> ImportRow | None:
        with self._parts.database.read("*") as session:
            if not repository.any_claimable(session, self._parts.database.now(session)):
                return None
        with self._parts.database.system() as session:
            now = self._parts.database.now(session)
            row = repository.next_claimable(session, now)
            if row is not None:
                take(row, self._holder, now, SHARE * self._parts.settings.lease_s)
            return row

    def _run(self, held: Held, row: ImportRow) -> None:
        if row.attempt > MAX_ATTEMPTS:
            self._fail(held, _DIED)
            return
        uploads = UploadedFiles(self._parts, row.site, row.uploads)
        with self._parts.database.begin(row.site) as session:
            key = site_key(session, row.site)
        update(held, phase="reading", total=row.total if row.total is not None else total(uploads))
        rule = labeller(LabelRule.model_validate_json(row.rule or "{}"), uploads)
        candidates = Candidates(uploads, row.seen, rule, key, self._lookup(row.site))
        Batches(held, key, candidates).run()
        counts = self._counts(held)
        if counts.stored + counts.known == 0:
            self._fail(held, self._nothing(counts))
            return
        update(held, phase="checking", eta_s=None)
        version = make_version(self._parts, row.site, row.dataset_id, row.created_by, held.check, held.lock)
        self._finish(held, version)

    def _lookup(self, site: str) -> Callable[[Sequence[str]], dict[str, str]]:
        def known(received: Sequence[str]) -> dict[str, str]:
            with self._parts.database.read(site) as session:
                return repository.known_by_received(session, site, received)

        return known

    def _counts(self, held: Held) -> ImportRow:
        with self._parts.database.begin(held.site) as session:
            return locked(held, repository.find(session, held.site, held.id, lock=True))

    def _nothing(self, row: ImportRow) -> str:
        with self._parts.database.read(row.site) as session:
            first = repository.refusals(session, row.site, row.id, -1, 3)
        if not first:
            return "The upload holds no files to import (hidden files and the like are passed over)."
        reasons = " ".join(f"{name}: {reason}" for _, name, _, reason in first)
        return (
            f"None of the {row.seen:,} files could be imported, so the data set is as it was. {reasons} "
            "The upload is kept: start the import again with other settings."
        )

    def _finish(self, held: Held, version: int) -> None:
        with self._parts.database.begin(held.site) as session:
            row = locked(held, repository.find(session, held.site, held.id, lock=True))
            now = self._parts.database.now(session)
            row.status, row.phase, row.version, row.rule = Status.DONE, "done", version, None
            row.error, row.eta_s, row.lease_until, row.finished_at = None, None, None, now
            row.total = row.seen
            for upload_id in sorted(row.uploads):
                if upload := find_upload(session, held.site, upload_id, lock=True):
                    upload.used_by, upload.expires_at = None, now
            announce(session, topic(row.id))
        self._purge(held.site, row.uploads)

    def _purge(self, site: str, uploads: Sequence[str]) -> None:
        service = UploadService(self._parts)
        try:
            for upload_id in uploads:
                service.purge(site, upload_id)
        except UnavailableError as error:  # they have expired, so the sweeper removes them later
            logger.info("uploads that were imported stay for now", extra={"reason": error.message})

    def _fail(self, held: Held, reason: str) -> None:
        with self._parts.database.begin(held.site) as session:
            row = locked(held, repository.find(session, held.site, held.id, lock=True))
            row.status, row.phase, row.error, row.rule = Status.FAILED, "failed", reason, None
            row.eta_s, row.lease_until = None, None
            row.finished_at = now = self._parts.database.now(session)
            for upload_id in sorted(row.uploads):
                # Kept for another try with other settings; from now on it expires like any other.
                if upload := find_upload(session, held.site, upload_id, lock=True):
                    upload.used_by = None
                    upload.expires_at = now + seconds(self._parts.settings.ingest_upload_ttl_s)
            unnamed.note(session, self._parts.database, held.site, held.unnamed)
            announce(session, topic(row.id))

    def _hand_back(self, held: Held) -> None:
        with self._parts.database.begin(held.site) as session:
            row = repository.find(session, held.site, held.id, lock=True)
            if row is not None and row.fence == held.fence:
                hand_back(row, held.fence)

    def _wait(self, held: Held, attempt: int, error: AimicError) -> None:
        """What may pass is waited for, as long as it takes, and said; a conflict that stays ends the import."""
        logger.warning("an import waits", extra={"import_id": held.id, "reason": error.message})
        if isinstance(error, ConflictError) and attempt >= MAX_ATTEMPTS:
            self._fail(held, f"{error.message} It was tried three times. What came in is kept, the upload too.")
            return
        while not self._noted(held, error):
            if self._parts.workers.stopping.wait(AGAIN_S):
                return  # the lease will end by itself

    def _noted(self, held: Held, error: AimicError) -> bool:
        """Whether it could be written down that the import waits: it may be the records that are away."""
        try:
            self._note(held, error)
        except UnavailableError:
            return False
        return True

    def _note(self, held: Held, error: AimicError) -> None:
        pause_s = self._parts.settings.lease_s  # others have their turn meanwhile
        with self._parts.database.begin(held.site) as session:
            row = locked(held, repository.find(session, held.site, held.id, lock=True))
            if not isinstance(error, ConflictError):
                row.attempt = max(0, row.attempt - 1)
            row.holder, row.lease_until = None, None
            row.status, row.phase, row.eta_s = Status.READY, "waiting", None
            row.error = f"{error.message} What came in is kept; the import tries again every {pause_s:g} seconds."
            row.not_before = self._parts.database.now(session) + seconds(pause_s)
            announce(session, topic(row.id))

    def _give_up_or_retry(self, held: Held, attempt: int) -> None:
        if attempt >= MAX_ATTEMPTS:
            self._fail(held, _BROKEN)
            return
        with self._parts.database.begin(held.site) as session:
            row = locked(held, repository.find(session, held.site, held.id, lock=True))
            row.status, row.holder, row.lease_until = Status.READY, None, None


_DIED = (
    "The import was tried three times and ended each time without getting further, perhaps for want of memory. "
    "What came in before is kept in the data set's store; the upload is kept too. Try smaller parts."
)
_BROKEN = (
    "The import met an error that we did not foresee, three times at the same place. What came in before is kept, "
    "the upload too. Give support the time of this message."
)
