"""The worker of imports: claims one, brings its files in batch by batch, and makes the next version."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import uuid4

from aimic import faults
from aimic.domain.dataset import LabelRule
from aimic.domain.job import Status
from aimic.domain.work import MAX_ATTEMPTS
from aimic.errors import AimicError, ConflictError, OverloadedError, StaleFenceError, UnavailableError
from aimic.imaging.sandbox import Sandbox
from aimic.settings import available_cpus
from services.ingest.database import announce, seconds
from services.ingest.datasets.versions import make_version
from services.ingest.dependencies import Ingest
from services.ingest.imports import repository
from services.ingest.imports.batches import commit_batch
from services.ingest.imports.candidates import Candidate, Candidates
from services.ingest.imports.examine import Examiner
from services.ingest.imports.lease import SHARE, Held, StoppedError
from services.ingest.imports.service import WORKER, topic
from services.ingest.imports.sources import UploadedFiles, labeller, total
from services.ingest.imports.tables import ImportRow
from services.ingest.leases import check_fence, hand_back, take
from services.ingest.sites.service import SiteKey, site_key
from services.ingest.uploads.repository import find as find_upload
from services.ingest.uploads.service import UploadService
from services.ingest.writing import serialised

logger = logging.getLogger(__name__)

BATCH = 200
"""Files per unit of work; at most these are looked at again after a crash."""
BATCH_S = 2.0
"""Seconds after which a smaller batch is written, so that progress is seen."""
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
                self._run(held, row)
            except StaleFenceError:
                logger.info("an import was taken over by another worker", extra={"import_id": row.id})
            except StoppedError:
                self._hand_back(held)
            except _PASSING as error:
                self._wait(held, row.attempt, error)
            except AimicError as error:
                self._fail(held, error.message)
            except Exception:
                self._give_up_or_retry(held, row.attempt)
                raise
        return True

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
        version = make_version(self._parts, row.site, row.dataset_id, row.created_by, held.check)
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
            for upload_id in row.uploads:
                if upload := find_upload(session, held.site, upload_id, lock=True):
                    upload.used_by, upload.expires_at = None, now
            announce(session, topic(row.id))
        service = UploadService(self._parts)
        for upload_id in row.uploads:
            service.purge(held.site, upload_id)

    def _fail(self, held: Held, reason: str) -> None:
        with self._parts.database.begin(held.site) as session:
            row = locked(held, repository.find(session, held.site, held.id, lock=True))
            row.status, row.phase, row.error, row.rule = Status.FAILED, "failed", reason, None
            row.eta_s, row.lease_until = None, None
            row.finished_at = self._parts.database.now(session)
            for upload_id in row.uploads:
                # Kept for another try with other settings; it expires like any other.
                if upload := find_upload(session, held.site, upload_id, lock=True):
                    upload.used_by = None
            announce(session, topic(row.id))

    def _hand_back(self, held: Held) -> None:
        with self._parts.database.begin(held.site) as session:
            row = repository.find(session, held.site, held.id, lock=True)
            if row is not None and row.fence == held.fence:
                hand_back(row, held.fence)

    def _wait(self, held: Held, attempt: int, error: AimicError) -> None:
        """What may pass is waited for, as long as it takes, and said; a conflict that stays ends the import."""
        logger.warning("an import waits", extra={"import_id": held.id, "reason": error.message})
        conflict = isinstance(error, ConflictError)
        if conflict and attempt >= MAX_ATTEMPTS:
            self._fail(held, f"{error.message} It was tried three times. What came in is kept, the upload too.")
            return
        pause_s = self._parts.settings.lease_s  # others have their turn meanwhile
        with self._parts.database.begin(held.site) as session:
            row = locked(held, repository.find(session, held.site, held.id, lock=True))
            if not conflict:
                row.attempt = attempt - 1
            row.status, row.holder, row.lease_until = Status.READY, None, None
            row.phase, row.eta_s = "waiting", None
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


class Batches:
    """Has candidates examined side by side, settles them in order, and writes them in batches."""

    def __init__(self, held: Held, key: SiteKey, candidates: Candidates) -> None:
        self._held, self._key, self._candidates = held, key, candidates
        self._started, self._done = time.monotonic(), 0
        self._waiting: deque[tuple[Candidate, Future[None] | None]] = deque()
        self._batch: list[Candidate] = []
        self._written = time.monotonic()

    def run(self) -> None:
        """Bring everything in."""
        workers = available_cpus()
        with Sandbox(workers) as sandbox, ThreadPoolExecutor(workers, "examine") as pool:
            examiner = Examiner(self._held.parts, self._held.site, sandbox)
            try:
                for candidate in self._candidates:
                    future = None if candidate.data is None else pool.submit(examiner.settle, candidate)
                    self._waiting.append((candidate, future))
                    self._collect(2 * workers)
                self._collect(0)
            finally:
                pool.shutdown(cancel_futures=True)
        self._write()

    def _collect(self, ahead: int) -> None:
        """Move what is settled to the batch, and wait while more than `ahead` files are in work."""
        while self._waiting:
            candidate, future = self._waiting[0]
            if future is not None:
                if not future.done() and len(self._waiting) <= ahead:
                    return
                future.result()
            self._waiting.popleft()
            assert candidate.settled()
            self._batch.append(candidate)
            if len(self._batch) >= BATCH or time.monotonic() - self._written > BATCH_S:
                self._write()

    def _write(self) -> None:
        if not self._batch:
            return
        parts, site = self._held.parts, self._held.site
        with parts.database.begin(site) as session:
            # Two imports that bring the same pictures into two data sets would each make the same objects.
            serialised(session, "objects", site)
            row = locked(self._held, repository.find(session, site, self._held.id, lock=True))
            commit_batch(session, row, self._batch, self._key)
            row.phase, row.error, row.eta_s = "importing", None, self._eta(row)
            announce(session, topic(row.id))
            faults.point("ingest.import.batch.before")
        faults.point("ingest.import.batch.committed")
        self._done += len(self._batch)
        for candidate in self._batch:
            self._candidates.forget(candidate)
        self._batch, self._written = [], time.monotonic()
        self._held.check()

    def _eta(self, row: ImportRow) -> float | None:
        if row.total is None:
            return None
        rate = (self._done + len(self._batch)) / max(time.monotonic() - self._started, 1e-3)
        return round((row.total - row.seen) / rate, 1)


def update(held: Held, **values: object) -> None:
    """Set columns of the held import and tell whoever watches."""
    with held.parts.database.begin(held.site) as session:
        row = locked(held, repository.find(session, held.site, held.id, lock=True))
        for name, value in values.items():
            setattr(row, name, value)
        announce(session, topic(row.id))


def locked(held: Held, row: ImportRow | None) -> ImportRow:
    """The row, under this worker's fence; StaleFenceError otherwise."""
    if row is None:
        raise StaleFenceError("The import is gone.")
    check_fence(row, held.fence)
    return row
