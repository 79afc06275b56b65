"""Files on their way in: decoded and stored side by side, in bounded memory, written to the records in batches."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from aimic import faults
from aimic.imaging.sandbox import Sandbox
from aimic.settings import available_cpus
from services.ingest.database import announce
from services.ingest.datasets.reading import sample_key
from services.ingest.imports import repository
from services.ingest.imports.batches import commit_batch
from services.ingest.imports.candidates import Candidate, Candidates
from services.ingest.imports.examine import Examiner
from services.ingest.imports.lease import Held, locked
from services.ingest.imports.service import topic
from services.ingest.imports.tables import ImportRow
from services.ingest.sites.service import SiteKey
from services.ingest.writing import serialised

BATCH = 200
"""Files per unit of work; at most these are looked at again after a crash."""
BATCH_S = 2.0
"""Seconds after which a smaller batch is written, so that progress is seen."""
STORING = 8
"""Threads that may wait for the store beside those whose images are decoded."""
AHEAD, AHEAD_BYTES = 64, 64 << 20
"""Files, and their bytes, that are in work at once (or one file, when it alone is larger)."""


class Batches:
    """Has candidates examined side by side, settles them in order, and writes them in batches."""

    def __init__(self, held: Held, key: SiteKey, candidates: Candidates) -> None:
        self._held, self._key, self._candidates = held, key, candidates
        self._started, self._done = time.monotonic(), 0
        self._waiting: deque[tuple[Candidate, Future[None] | None]] = deque()
        self._bytes = 0
        """Received bytes of what is in work."""
        self._batch: list[Candidate] = []
        self._written = time.monotonic()

    def run(self) -> None:
        """Bring everything in."""
        workers = available_cpus()
        with Sandbox(workers) as sandbox, ThreadPoolExecutor(workers + STORING, "examine") as pool:
            examiner = Examiner(self._held, sandbox)
            try:
                for candidate in self._candidates:
                    future = None if candidate.data is None else pool.submit(examiner.settle, candidate)
                    self._waiting.append((candidate, future))
                    self._bytes += candidate.size
                    self._collect(AHEAD, AHEAD_BYTES)
                self._collect(0, 0)
            finally:
                pool.shutdown(cancel_futures=True)
        self._write()

    def _collect(self, files: int, size: int) -> None:
        """Move what is settled to the batch, and wait while more than so many files or bytes are in work."""
        while self._waiting:
            candidate, future = self._waiting[0]
            if future is not None:
                if not future.done() and len(self._waiting) <= files and self._bytes <= size:
                    return
                future.result()
            self._waiting.popleft()
            self._bytes -= candidate.size
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
            if candidate.sample and candidate.facts:
                self._held.unnamed.discard(sample_key(site, candidate.sample, candidate.facts["generation"]))
        self._batch, self._written = [], time.monotonic()
        self._held.check()

    def _eta(self, row: ImportRow) -> float | None:
        if row.total is None:
            return None
        rate = (self._done + len(self._batch)) / max(time.monotonic() - self._started, 1e-3)
        return round((row.total - row.seen) / rate, 1)
