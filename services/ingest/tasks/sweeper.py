"""What time itself brings: leases that ran out, objects that nothing names any more, old idempotency keys."""

import logging
import time

from sqlalchemy import delete, select

from aimic import faults
from aimic.domain.work import MAX_ATTEMPTS
from aimic.errors import UnavailableError
from services.ingest.datasets.unnamed import may_go
from services.ingest.dependencies import Ingest
from services.ingest.idempotency import forget_old
from services.ingest.jobs import lifecycle
from services.ingest.jobs import repository as jobs
from services.ingest.tasks import presence, repository
from services.ingest.tasks.claiming import NO_WORDS
from services.ingest.tasks.tables import DyingObjectRow
from services.ingest.tasks.values import prefix_of

logger = logging.getLogger(__name__)

FORGET_EVERY_S = 600
_AT_ONCE = 100


class Sweeper:
    """One of ingest's workers; any number of replicas may run it at once."""

    name = "sweeper"

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts
        self._woken: set[tuple[str, int]] = set()
        self._forget_at = 0.0

    def run_one(self) -> bool:
        """One round; whether there may be more to remove at once."""
        self._expired_leases()
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + FORGET_EVERY_S
            with self._parts.database.system() as session:
                forget_old(session, self._parts.database.now(session))
        return self._remove_dying() == _AT_ONCE

    def _expired_leases(self) -> None:
        """Wake workers for what a dead one held; end what was tried often enough."""
        presence.keep(self._parts)
        database = self._parts.database
        with database.read("*") as session:
            now = database.now(session)
            found = [(row.site, row.id, row.fence, row.attempt) for row in repository.with_lease_before(session, now)]
        self._woken &= {(task_id, fence) for _, task_id, fence, _ in found}
        for site, task_id, fence, attempt in found:
            if (task_id, fence) not in self._woken or attempt >= MAX_ATTEMPTS:
                self._try(site, task_id, fence)

    def _try(self, site: str, task_id: str, fence: int) -> None:
        """What stands in one task's way, such as a lock of a replica that lost power, keeps no other back."""
        about = {"site": site, "task": task_id}
        try:
            self._expired(site, task_id, fence)
        except UnavailableError as error:
            logger.warning("an expired lease is looked at again later", extra=about | {"reason": error.message})
        except Exception:
            logger.exception("an expired lease could not be dealt with; it is tried again", extra=about)
        else:
            self._woken.add((task_id, fence))

    def _expired(self, site: str, task_id: str, fence: int) -> None:
        with self._parts.database.begin(site) as session:
            now = self._parts.database.now(session)
            job = jobs.lock(session, site, repository.find(session, site, task_id).job_id)
            task = repository.find(session, site, task_id)
            if task.fence != fence or task.lease_until is None or task.lease_until >= now:
                return  # renewed, given away or over meanwhile
            if task.attempt >= MAX_ATTEMPTS:
                lifecycle.failed(session, job, task, now, task.error or NO_WORDS)
            else:
                lifecycle.wake(session, task, now)

    def _remove_dying(self) -> int:
        database = self._parts.database
        with database.read("*") as session:
            due = DyingObjectRow.due_at <= database.now(session)
            rows = session.scalars(select(DyingObjectRow).where(due).limit(_AT_ONCE)).all()
            dying = [(row.site, row.key, row.due_at) for row in rows]
        if dying:
            faults.point("ingest.sweeper.removing")
        for site, key, _ in dying:
            for name in self._unnamed(site, key) if key.endswith("/") else (key,):
                if may_go(database, site, name):
                    self._parts.blobs.delete(name)
        if dying:
            faults.point("ingest.sweeper.removed")
            with database.system() as session:
                for site, key, due_at in dying:
                    # What was put here again since is due later.
                    mine = (DyingObjectRow.site == site, DyingObjectRow.key == key, DyingObjectRow.due_at == due_at)
                    session.execute(delete(DyingObjectRow).where(*mine))
        return len(dying)

    def _unnamed(self, site: str, prefix: str) -> list[str]:
        """What lies below the prefix of a task and is in no result or checkpoint, or below that of an ended upload."""
        owner = prefix.rstrip("/").rpartition("/")[2]
        named = self._named(site, owner) if prefix == prefix_of(site, owner) else set()
        return [blob.key for blob in self._parts.blobs.list(prefix) if blob.key not in named]

    def _named(self, site: str, task_id: str) -> set[str]:
        with self._parts.database.read(site) as session:
            task = repository.find(session, site, task_id)
            return {*task.objects.values(), *task.checkpoint.values()}
