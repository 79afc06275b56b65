"""The relay: publishes what the outbox holds, in order. Each replica has one; one at a time works.

Messages go out at least once: who dies between publishing and writing that down leaves it to the next, who
publishes it again, and so may two relays for a moment when one hung for longer than its lease. Everything is in the
records, so with every topic emptied the relay publishes what is open again: when it begins, each minute, and when a
topic was made anew. While the broker is away messages wait, one of each task and model.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from pydantic import ValidationError
from sqlalchemy import and_, delete, exists, select, tuple_, update
from sqlalchemy.orm import Session, aliased

from aimic import faults, tracing
from aimic.errors import UnavailableError
from aimic.events import MESSAGES, JobProgressed, Message, ModelsChanged, TaskReady
from services.ingest.dependencies import Ingest
from services.ingest.jobs.tables import JobRow
from services.ingest.leases import claimable
from services.ingest.models.tables import ModelRow
from services.ingest.outbox import RELAY, OutboxRow
from services.ingest.relay_lease import LOOK_S, RelayLease
from services.ingest.tasks.tables import TaskRow

logger = logging.getLogger(__name__)

AGAIN_S = 60.0
"""What is open longer than this is published again."""
_AT_ONCE = 200


class Relay:
    """One of ingest's workers."""

    name = RELAY
    idle_s = LOOK_S

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts
        self._lease = RelayLease(parts.database)
        self._again_at = 0.0
        self._losses: int | None = None
        """The event log's losses when what is served was last published again."""

    def run_one(self) -> bool:
        """Publish what there is; whether there may be more. UnavailableError when the broker or records are away."""
        if not self._lease.hold():
            return False
        try:
            self._forget_superseded()
            self._publish_again()
            return self._publish_new()
        except UnavailableError:
            # Perhaps it is only from here that the broker can't be reached.
            self._lease.give_up()
            raise

    def leave(self) -> None:
        """The process ends; another may go on at once."""
        self._lease.give_up()

    def _publish_new(self) -> bool:
        with self._parts.database.read("*") as session:
            rows = self._outbox(session)
            progressed = self._progressed(session)
        messages = [message for row in rows if (message := _message(row)) is not None]
        if not (rows or progressed) or not self._send([*messages, *progressed]):
            return False
        faults.point("ingest.relay.published")
        self._published(rows, progressed)
        return len(rows) == _AT_ONCE

    def _send(self, messages: Sequence[Message]) -> bool:
        """Publish them in order; False when the lease was lost meanwhile, and another does it."""
        for message in messages:
            if not self._lease.hold():
                return False
            with _traced(message):
                self._parts.events.publish(message)
        return True

    def _forget_superseded(self) -> None:
        """A later message about the same thing says all that an earlier one did: ask the records. So however long the
        broker is away, no more wait than there are tasks and models."""
        newer = aliased(OutboxRow)
        same = and_(
            newer.site == OutboxRow.site, newer.topic == OutboxRow.topic, newer.aggregate == OutboxRow.aggregate
        )
        query = exists().where(same, newer.sequence > OutboxRow.sequence)
        with self._parts.database.read("*") as session:
            if session.scalar(select(OutboxRow.sequence).where(query).limit(1)) is None:
                return
        with self._parts.database.system() as session:
            session.execute(delete(OutboxRow).where(query))

    def _outbox(self, session: Session) -> list[OutboxRow]:
        """The oldest first, and of one aggregate by its sequence, whatever clock its writers had."""
        order = (OutboxRow.created_at, OutboxRow.topic, OutboxRow.aggregate, OutboxRow.sequence)
        rows = list(session.scalars(select(OutboxRow).order_by(*order).limit(_AT_ONCE)))
        first: dict[tuple[str, str, str], int] = {}
        for place, row in enumerate(rows):
            first.setdefault((row.site, row.topic, row.aggregate), place)
        return sorted(rows, key=lambda row: (first[row.site, row.topic, row.aggregate], row.sequence))

    def _progressed(self, session: Session) -> list[JobProgressed]:
        """One message per job, however many events it had since the last."""
        query = select(JobRow.site, JobRow.id, JobRow.sequence).where(JobRow.sequence > JobRow.published)
        return [
            JobProgressed(site=site, aggregate=job_id, sequence=sequence)
            for site, job_id, sequence in session.execute(query.limit(_AT_ONCE))
        ]

    def _published(self, rows: list[OutboxRow], progressed: list[JobProgressed]) -> None:
        """What somebody holds just now is left out and published once more: who lost power may hold it for long, and
        meanwhile others would wait for what we hold, and our lease would end."""
        if rows:
            # What was posted again since has another time, and is published again.
            key = tuple_(OutboxRow.site, OutboxRow.topic, OutboxRow.aggregate, OutboxRow.sequence, OutboxRow.created_at)
            done = [(row.site, row.topic, row.aggregate, row.sequence, row.created_at) for row in rows]
            free = select(*key.clauses).where(key.in_(done)).with_for_update(skip_locked=True)
            with self._parts.database.system() as session:
                session.execute(delete(OutboxRow).where(key.in_(free)))
        # Apart: who holds a job may be waiting for a row of the outbox.
        if progressed:
            with self._parts.database.system() as session:
                _note(session, {(message.site, message.aggregate): message.sequence for message in progressed})

    def _publish_again(self) -> None:
        losses = self._parts.events.losses()
        lost = losses != self._losses
        if not lost and time.monotonic() < self._again_at:
            return
        if self._send(self._open(with_models=lost)):
            self._losses = losses
            self._again_at = time.monotonic() + AGAIN_S

    def _open(self, with_models: bool) -> list[Message]:
        """What somebody should do or know of, by the records."""
        with self._parts.database.read("*") as session:
            waits = claimable(TaskRow, self._parts.database.now(session))
            messages: list[Message] = [
                TaskReady(site=task.site, aggregate=task.id, sequence=task.fence + 1, kind=task.kind)
                for task in session.scalars(select(TaskRow).where(waits))
            ]
            if with_models:
                messages += [
                    ModelsChanged(site=model.site, aggregate=model.name, sequence=model.sequence)
                    for model in session.scalars(select(ModelRow))
                ]
        return messages


def _note(session: Session, published: Mapping[tuple[str, str], int]) -> None:
    """Write down up to where the progress of these jobs (site, id) was published."""
    mine = tuple_(JobRow.site, JobRow.id).in_(list(published))
    free = select(JobRow.site, JobRow.id).where(mine).with_for_update(skip_locked=True)
    for site, job_id in session.execute(free).all():
        sequence = published[site, job_id]
        which = (JobRow.site == site, JobRow.id == job_id, JobRow.published < sequence)
        session.execute(update(JobRow).where(*which).values(published=sequence))


def _traced(message: Message) -> AbstractContextManager[object]:
    """A message that belongs to no trace begins none: there are many, and nobody asked for them."""
    if not message.traceparent:
        return nullcontext()
    facts = {"messaging.destination.name": message.topic, "aimic.aggregate": message.aggregate}
    return tracing.span(f"publish {message.topic}", message.traceparent, "producer", facts)


def _message(row: OutboxRow) -> Message | None:
    """None for a row of another version of ingest that we can't read: it must not keep back all others."""
    try:
        return MESSAGES[row.topic].model_validate(row.body)
    except (KeyError, ValidationError):
        about = {"site": row.site, "topic": row.topic, "aggregate": row.aggregate, "sequence": row.sequence}
        logger.error("a message in the outbox can't be read and is not published", extra=about)
        return None
