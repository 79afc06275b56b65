"""Backup and restore by the commands of docs/kubernetes.md, onto volumes that hold nothing."""

from pathlib import Path

from tests.cluster.kubernetes import CHART, Cluster, until
from tests.cluster.steps import Report

PG = "/usr/lib/postgresql/15/bin/"
OBJECTS = (
    "exec",
    "-i",
    "deploy/aimic-ingest",
    "-c",
    "ingest",
    "--",
    "/opt/aimic/bin/python",
    "-m",
    "services.ingest.objects",
)
RECORDS = ("exec", "-i", "aimic-postgresql-0", "-c", "postgresql", "--")


def back_up(cluster: Cluster, report: Report, to: Path) -> None:
    """Records first: objects never change, so those that the records name are still there afterwards."""
    with report.step("backup of records and objects"):
        cluster.pipe(*RECORDS, f"{PG}pg_dump", "-U", "postgres", "-Fc", "aimic", target=to / "records.dump")
        cluster.pipe(*OBJECTS, "save", target=to / "objects.tar")
    sizes = [f"{name} {(to / name).stat().st_size / 2**20:.1f} MiB" for name in ("records.dump", "objects.tar")]
    report.say("  " + ", ".join(sizes))


def restore_anew(cluster: Cluster, report: Report, source: Path) -> None:
    """The volumes are deleted, the chart is installed again, and everything comes from the backup."""
    with report.step("the volumes are deleted, and the chart is installed on empty ones"):
        cluster.kubectl("delete", "persistentvolumeclaims", "--all", "--wait=true")
        cluster.helm("install", "aimic", str(CHART), "-f", str(CHART / "values-small.yaml"))
        cluster.kubectl("rollout", "status", "deployment/aimic-ingest", "--timeout=300s", timeout_s=310)
    with report.step("restore of objects and records"):
        cluster.pipe(*OBJECTS, "load", source=source / "objects.tar")
        cluster.kubectl("scale", "deployment/aimic-ingest", "--replicas=0")
        until("ingest has gone", lambda: not cluster.pods("ingest"), 60)
        restore = (f"{PG}pg_restore", "-U", "postgres", "-d", "aimic", "--clean", "--if-exists", "--single-transaction")
        cluster.pipe(*RECORDS, *restore, source=source / "records.dump")
        cluster.kubectl("scale", "deployment/aimic-ingest", "--replicas=1")
        cluster.kubectl("rollout", "status", "deployment/aimic-ingest", "--timeout=180s", timeout_s=190)
