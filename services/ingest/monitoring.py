"""Gauges for Prometheus, read from the records when they are asked for."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from aimic.domain.job import Status
from aimic.errors import AimicError
from services.ingest.dependencies import Ingest
from services.ingest.imports.tables import ImportRow
from services.ingest.leases import claimable
from services.ingest.outbox import OutboxRow
from services.ingest.tasks.tables import TaskRow


class RecordsCollector(Collector):
    """Registered once per process."""

    def __init__(self, parts: Ingest) -> None:
        self._database = parts.database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Tasks and imports by status, tasks that could be claimed now (what trainers are scaled by), those whose
        trainer is silent, messages unpublished and for how long."""
        tasks, imports, claims, stale, outbox, oldest = families = _families()
        try:
            with self._database.read("*") as session:
                by_status = [_by_status(session, row) for row in (TaskRow, ImportRow)]
                now = self._database.now(session)
                ready = _count(session, claimable(TaskRow, now))
                silent = _count(session, claimable(TaskRow, now), TaskRow.status == Status.RUNNING)
                waiting, since = session.execute(select(func.count(), func.min(OutboxRow.created_at))).one()
        except AimicError:
            return  # a missing value says that it isn't known; the readiness probe says why
        for family, counts in zip((tasks, imports), by_status, strict=True):
            for each in Status:
                family.add_metric([each.value], counts.get(each.value, 0))
        claims.add_metric([], ready)
        stale.add_metric([], silent)
        outbox.add_metric([], waiting)
        oldest.add_metric([], max(0.0, (now - since).total_seconds()) if since else 0.0)
        yield from families

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families, empty: registering us asks the records nothing."""
        yield from _families()


def _families() -> tuple[GaugeMetricFamily, ...]:
    return (
        GaugeMetricFamily("aimic_ingest_tasks", "Tasks by status", labels=["status"]),
        GaugeMetricFamily("aimic_ingest_imports", "Imports by status", labels=["status"]),
        GaugeMetricFamily("aimic_ingest_claimable_tasks", "Tasks that a worker would get now"),
        GaugeMetricFamily("aimic_ingest_stale_tasks", "Running tasks whose trainer has been silent beyond its lease"),
        GaugeMetricFamily("aimic_ingest_outbox_messages", "Messages not yet published"),
        GaugeMetricFamily("aimic_ingest_outbox_oldest_seconds", "Age of the oldest of them, 0 without any"),
    )


def _by_status(session: Session, row: type[TaskRow] | type[ImportRow]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for status, count in session.execute(select(row.status, func.count()).group_by(row.status)):
        counts[status] = count
    return counts


def _count(session: Session, *which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(TaskRow).where(*which)) or 0
