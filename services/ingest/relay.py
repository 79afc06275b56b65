"""The relay: publishes what the outbox holds, in order. Each replica has one; one at a time works.

Messages go out at least once. Everything is in the records, so with every topic emptied the relay
publishes what is open again, at its start and each minute, and nothing is lost.
"""

import logging
import time
from uuid import uuid4

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.orm import Session

from aimic import faults
from aimic.domain.job import Status
from aimic.events import MESSAGES, JobProgressed, Message, ModelsChanged, TaskReady
from services.ingest.database import seconds
from services.ingest.dependencies import Ingest
from services.ingest.jobs.tables import JobRow
from services.ingest.models.tables import ModelRow
from services.ingest.outbox import RELAY, NamedLeaseRow, OutboxRow
from services.ingest.tasks.tables import TaskRow
from services.ingest.writing import put, serialised

logger = logging.getLogger(__name__)

LEASE_S = 5.0
AGAIN_S = 60.0
"""What is open longer than this is published again."""
_AT_ONCE = 200


class Relay:
    """One of ingest's workers."""

    name = RELAY

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts
        self._me = uuid4().hex
        self._again_at = 0.0
        self._first = True

    def run_one(self) -> bool:
        """Publish what there is; whether there may be more."""
        if time.monotonic() >= self._again_at:
            self._again_at = time.monotonic() + AGAIN_S
            self._publish_again()
        with self._parts.database.read("*") as session:
            rows = self._outbox(session)
            progressed = self._progressed(session)
        if not (rows or progressed) or not self._hold():
            return False
        for row in rows:
            self._parts.events.publish(MESSAGES[row.topic].model_validate(row.body))
        for message in progressed:
            self._parts.events.publish(message)
        faults.point("ingest.relay.published")
        self._published(rows, progressed)
        return len(rows) == _AT_ONCE

    def _hold(self) -> bool:
        """Take or renew the lease; whether it is ours."""
        with self._parts.database.system() as session:
            serialised(session, "lease", RELAY)
            now = self._parts.database.now(session)
            query = select(NamedLeaseRow).where(NamedLeaseRow.site == "*", NamedLeaseRow.name == RELAY)
            lease = session.scalar(query.with_for_update())
            if lease is not None and lease.holder != self._me and lease.lease_until >= now:
                return False
            mine = {"site": "*", "name": RELAY, "holder": self._me, "lease_until": now + seconds(LEASE_S)}
            put(session, NamedLeaseRow, mine)
            return True

    def _outbox(self, session: Session) -> list[OutboxRow]:
        order = (OutboxRow.created_at, OutboxRow.topic, OutboxRow.aggregate, OutboxRow.sequence)
        return list(session.scalars(select(OutboxRow).order_by(*order).limit(_AT_ONCE)))

    def _progressed(self, session: Session) -> list[JobProgressed]:
        """One message per job, however many events it had since the last."""
        query = select(JobRow.site, JobRow.id, JobRow.sequence).where(JobRow.sequence > JobRow.published)
        return [
            JobProgressed(site=site, aggregate=job_id, sequence=sequence)
            for site, job_id, sequence in session.execute(query.limit(_AT_ONCE))
        ]

    def _published(self, rows: list[OutboxRow], progressed: list[JobProgressed]) -> None:
        # What was posted again since has another time, and is published again.
        key = tuple_(OutboxRow.site, OutboxRow.topic, OutboxRow.aggregate, OutboxRow.sequence, OutboxRow.created_at)
        done = [(row.site, row.topic, row.aggregate, row.sequence, row.created_at) for row in rows]
        if done:
            with self._parts.database.system() as session:
                session.execute(delete(OutboxRow).where(key.in_(done)))
        # Apart: who holds a job may be waiting for a row of the outbox.
        with self._parts.database.system() as session:
            for message in sorted(progressed, key=lambda one: (one.site, one.aggregate)):
                mine = (JobRow.site == message.site, JobRow.id == message.aggregate)
                newer = JobRow.published < message.sequence
                session.execute(update(JobRow).where(*mine, newer).values(published=message.sequence))

    def _publish_again(self) -> None:
        with self._parts.database.read("*") as session:
            messages: list[Message] = [
                TaskReady(site=task.site, aggregate=task.id, sequence=task.fence + 1, kind=task.kind)
                for task in session.scalars(select(TaskRow).where(TaskRow.status == Status.READY))
            ]
            if self._first:
                messages += [
                    ModelsChanged(site=model.site, aggregate=model.name, sequence=model.sequence)
                    for model in session.scalars(select(ModelRow))
                ]
        if messages and self._hold():
            for message in messages:
                self._parts.events.publish(message)
        self._first = False
