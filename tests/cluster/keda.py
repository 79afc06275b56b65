"""Trainers that come when there is something to train, and go."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.kubernetes import CHART, Cluster, until
from tests.cluster.steps import Report
from tests.cluster.work import Laboratory

HOSTS = Path("/etc/hosts")
MOST = 2


def is_there(cluster: Cluster) -> bool:
    """Whether this cluster knows ScaledJobs."""
    return "scaledjobs.keda.sh" in cluster.run("kubectl", "get", "crd", "-o", "name")


@contextmanager
def _known_to_this_machine(cluster: Cluster) -> Iterator[None]:
    """On our own node KEDA runs beside the API server, where no name of the cluster is known: it is told this one."""
    before = HOSTS.read_text(encoding="utf-8")
    address = cluster.kubectl("get", "service", "aimic-ingest", "-o", "jsonpath={.spec.clusterIP}")
    HOSTS.write_text(f"{before}\n{address} aimic-ingest.{cluster.namespace}.svc\n", encoding="utf-8")
    try:
        yield
    finally:
        HOSTS.write_text(before, encoding="utf-8")


def _active(cluster: Cluster) -> int:
    return sum(pod["status"]["phase"] in {"Pending", "Running"} for pod in cluster.pods("trainer"))


def _scaled(cluster: Cluster, report: Report, lab: Laboratory) -> None:
    changes = (
        "--set",
        "trainer.scaling=keda",
        "--set",
        f"trainer.maxReplicas={MOST}",
        "--set",
        "trainer.pollingSeconds=3",
    )
    with report.step("helm upgrade to KEDA: no trainer is left while nothing waits"):
        cluster.helm("upgrade", "aimic", str(CHART), "-f", str(CHART / "values-small.yaml"), *changes)
        until("no trainer", lambda: not _active(cluster), 180)
    job = lab.start("third")
    with report.step(f"0 → {MOST} trainers for a job of three folds"):
        until(f"{MOST} trainers", lambda: _active(cluster) == MOST, 120)
    with report.step("the job ends well"):
        lab.finish(job, 900)
    with report.step(f"{MOST} → 0 trainers, each ended by itself with 0"):
        until("no trainer", lambda: not _active(cluster), 180)
        phases = {pod["status"]["phase"] for pod in cluster.pods("trainer")}
        if phases - {"Succeeded"}:
            raise RuntimeError(f"trainers ended as {phases}")
    with report.step("back to a fixed number"):
        cluster.helm("rollback", "aimic", "1")
        until("a trainer", lambda: _active(cluster) > 0, 120)


def scale(cluster: Cluster, report: Report, lab: Laboratory, own: bool) -> None:
    """Nothing is tried, and that is said, where KEDA isn't installed."""
    if not is_there(cluster):
        report.say("KEDA is not installed here: trainers by KEDA were not tried.")
    elif own:
        with _known_to_this_machine(cluster):
            _scaled(cluster, report, lab)
    else:
        _scaled(cluster, report, lab)
