"""Holding an import: the lease is renewed beside the work, and the work stops when it is lost."""

import logging
import threading
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from aimic.errors import AimicError, StaleFenceError
from services.ingest.database import announce
from services.ingest.dependencies import Ingest
from services.ingest.imports import repository
from services.ingest.imports.service import topic
from services.ingest.imports.tables import ImportRow
from services.ingest.leases import check_fence, extend

logger = logging.getLogger(__name__)

SHARE = 0.5
"""Of a task's lease; shorter: the worker sits beside the records, and a person waits who restarted the process."""


class StoppedError(Exception):
    """This process is going; the import is handed back between two batches."""


class Held:
    """A claimed import, renewed every third of its lease by a thread of its own."""

    def __init__(self, parts: Ingest, site: str, import_id: str, fence: int) -> None:
        self.parts, self.site, self.id, self.fence = parts, site, import_id, fence
        self.unnamed: set[str] = set()
        """Keys under which this worker stored images that no batch has recorded yet."""
        self._lease_s = SHARE * parts.settings.lease_s
        self._over = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease {import_id[:8]}", daemon=True)

    def check(self) -> None:
        """Between two pieces of work: StaleFenceError when another has it, StoppedError when the process ends."""
        if self._lost.is_set():
            raise StaleFenceError("The import was given to another worker.")
        if self.parts.workers.stopping.is_set():
            raise StoppedError

    def lock(self, session: Session) -> None:
        """Hold the import to the end of a unit of work, so that nobody takes it over before what is written there is
        committed; StaleFenceError when another has it."""
        locked(self, repository.find(session, self.site, self.id, lock=True))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._over.wait(self._lease_s / 3):
            try:
                with self.parts.database.begin(self.site) as session:
                    row = repository.find(session, self.site, self.id, lock=True)
                    if row is not None:
                        extend(row, self.fence, self.parts.database.now(session), self._lease_s)
            except StaleFenceError:
                self._lost.set()
                return
            except AimicError:
                logger.warning("a lease could not be renewed; it is tried again", extra={"import_id": self.id})
            except Exception:  # without this thread the work would be given away, whatever went wrong once
                logger.exception("a lease could not be renewed; it is tried again", extra={"import_id": self.id})


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
