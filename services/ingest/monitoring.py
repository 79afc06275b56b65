"""Gauges for Prometheus, read from the records when they are asked for."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from aimic.domain.job import Status
from aimic.errors import AimicError
from services.ingest.dependencies import Ingest
from services.ingest.leases import claimable
from services.ingest.outbox import OutboxRow
from services.ingest.tasks.tables import TaskRow


class RecordsCollector(Collector):
    """Registered once per process."""

    def __init__(self, parts: Ingest) -> None:
        self._database = parts.database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Tasks by status, tasks that could be claimed now (what trainers are scaled by), messages unpublished
        and for how long."""
        tasks = GaugeMetricFamily("aimic_ingest_tasks", "Tasks by status", labels=["status"])
        claims = GaugeMetricFamily("aimic_ingest_claimable_tasks", "Tasks that a worker would get now")
        outbox = GaugeMetricFamily("aimic_ingest_outbox_messages", "Messages not yet published")
        oldest = GaugeMetricFamily("aimic_ingest_outbox_oldest_seconds", "Age of the oldest of them, 0 without any")
        try:
            with self._database.read("*") as session:
                rows = session.execute(select(TaskRow.status, func.count()).group_by(TaskRow.status))
                counts: dict[str, int] = {}
                for status, count in rows:
                    counts[status] = count
                now = self._database.now(session)
                ready = session.scalar(select(func.count()).select_from(TaskRow).where(claimable(TaskRow, now)))
                waiting, since = session.execute(select(func.count(), func.min(OutboxRow.created_at))).one()
        except AimicError:
            return  # a missing value says that it isn't known; the readiness probe says why
        for each in Status:
            tasks.add_metric([each.value], counts.get(each.value, 0))
        claims.add_metric([], ready or 0)
        outbox.add_metric([], waiting)
        oldest.add_metric([], max(0.0, (now - since).total_seconds()) if since else 0.0)
        yield from (tasks, claims, outbox, oldest)
