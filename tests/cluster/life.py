"""Upgrade and rollback while somebody classifies."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aimic.client import Client, Retry
from tests.cluster.kubernetes import CHART, Cluster
from tests.cluster.steps import Report
from tests.cluster.work import Laboratory, trusting

SERVICES = ("ingest", "inference", "dashboard", "trainer")
ONCE = Retry(attempts=1)
CALLERS = 4


@dataclass
class Load:
    """What came of requests that are asked once each."""

    answered: int = 0
    lost: list[str] = field(default_factory=list)


@contextmanager
def load(lab: Laboratory, model: str) -> Iterator[Load]:
    """Four callers, each one request after the other without a second try, until this ends."""
    seen, stop = Load(), threading.Event()

    def ask() -> None:
        http = trusting(lab.edge, lab.authority)
        with http, Client(f"https://{lab.edge}", lab.key, retry=ONCE, http=http) as client:
            while not stop.is_set():
                try:
                    client.predict(model, lab.files())
                    seen.answered += 1
                except Exception as error:
                    seen.lost.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _rolled_out(cluster: Cluster) -> None:
    for service in SERVICES:
        cluster.kubectl("rollout", "status", f"deployment/aimic-{service}", "--timeout=240s", timeout_s=250)


def upgrade_and_roll_back(cluster: Cluster, report: Report, lab: Laboratory) -> None:
    """Every service's pods are replaced twice; no request may be lost."""
    changes = [word for name in SERVICES for word in ("--set-string", f"{name}.podAnnotations.upgraded=yes")]
    values = str(CHART / "values-small.yaml")
    with load(lab, "first") as seen:
        with report.step("helm upgrade replaces every pod of the four services, under load"):
            cluster.helm("upgrade", "aimic", str(CHART), "-f", values, *changes)
            _rolled_out(cluster)
        with report.step("helm rollback replaces them again, under load"):
            cluster.helm("rollback", "aimic", "1")
            _rolled_out(cluster)
    report.say(f"  {seen.answered} requests answered meanwhile, {len(seen.lost)} lost {seen.lost[:3] or ''}")
    if seen.lost or not seen.answered:
        raise RuntimeError("requests were lost")
