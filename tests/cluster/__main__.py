"""`python -m tests.cluster`: images, cluster, chart, work, faults, uninstall. `--keep FILE` keeps its output."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from aimic.domain.job import Status
from services.local.demo.cells import draw_set
from tests.cluster import node
from tests.cluster.backup import back_up, restore_anew
from tests.cluster.browser import look
from tests.cluster.keda import scale
from tests.cluster.kubernetes import CHART, ROOT, Cluster, is_ready, until
from tests.cluster.life import upgrade_and_roll_back
from tests.cluster.steps import Report
from tests.cluster.work import DATASET, Laboratory, alike, laboratory, same, trusting

KILLED = ("ingest", "inference", "trainer", "kafka", "minio", "postgresql", "dashboard", "edge")
MIB = 2**20
LONG = 30
"""Epochs of a training that lasts for as long as eight pods are killed."""


def _all_ready(cluster: Cluster, without: tuple[str, ...] = ()) -> bool:
    """`without`: inference is ready only when it serves a model."""
    pods = [pod for pod in cluster.pods() if "deletionTimestamp" not in pod["metadata"]]
    asked = [pod for pod in pods if pod["metadata"]["labels"]["app.kubernetes.io/component"] not in without]
    return bool(asked) and all(map(is_ready, asked))


def _memory(cluster: Cluster) -> list[str]:
    """What each pod uses now, as the kubelet measures it."""
    lines = []
    for name in cluster.kubectl("get", "nodes", "-o", "name").split():
        path = f"/api/v1/nodes/{name.removeprefix('node/')}/proxy/stats/summary"
        for pod in json.loads(cluster.run("kubectl", "get", "--raw", path))["pods"]:
            if pod["podRef"]["namespace"] == cluster.namespace and "memory" in pod:
                used = pod["memory"].get("workingSetBytes", 0) / MIB
                lines.append(f"  {pod['podRef']['name']:45} {used:7.0f} MiB")
    return sorted(lines)


def _install(cluster: Cluster, report: Report) -> None:
    with report.step("a namespace that enforces the restricted standard"):
        cluster.run("kubectl", "create", "namespace", cluster.namespace)
        label = "pod-security.kubernetes.io/enforce=restricted"
        cluster.run("kubectl", "label", "namespace", cluster.namespace, label)
    with report.step("helm install, until every pod is ready (inference: until it serves a model)"):
        cluster.helm("install", "aimic", str(CHART), "-f", str(CHART / "values-small.yaml"))
        until("every pod is ready", lambda: _all_ready(cluster, ("inference",)), 300)


def _pages(lab: Laboratory) -> None:
    with trusting(lab.edge, lab.authority) as http:
        stranger, known = http.get("/"), http.get("/", auth=("anybody", lab.key))
        metrics = http.get("/metrics", auth=("anybody", lab.key))
    asks = stranger.status_code == 401 and "Basic" in stranger.headers.get("www-authenticate", "")
    if not asks or known.status_code != 200 or "aimic_" in metrics.text:
        raise RuntimeError(f"pages: {stranger.status_code}, with the key {known.status_code}: {known.text[:200]}")


def _work(cluster: Cluster, report: Report, lab: Laboratory, picture: Path | None) -> None:
    with report.step("a drawn data set is imported"):
        report.say(f"  {lab.bring()}")
    with report.step("one network is cross-validated and its model registered"):
        lab.finish(lab.start("first"))
    with report.step("inference is ready"):
        until("inference serves", lambda: _all_ready(cluster), 120)
    with report.step("pages ask for the key and open with it"):
        _pages(lab)
    with report.step("a browser shows the data set"):
        look(f"https://{lab.edge}", lab.key, DATASET, picture)
    with report.step("REST and gRPC say the same, through the edge"):
        answers = lab.rest("first")
        same(answers, lab.over_grpc("first"))
        for file, result in zip(lab.files(), answers.results, strict=True):
            answer = result.answer
            report.say(f"  {file.parent.name:8} → {answer.label if answer else result.error}")
    report.say(cluster.kubectl("get", "all"))
    report.say("Memory of each pod:\n" + "\n".join(_memory(cluster)))


def _kill(cluster: Cluster, component: str) -> None:
    """Without a grace time; until all are others than before, and ready."""
    before = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in cluster.pods(component)}
    cluster.kubectl("delete", "pod", *before.values(), "--grace-period=0", "--force", timeout_s=60)

    def back() -> bool:
        now = {pod["metadata"]["uid"] for pod in cluster.pods(component)}
        return len(now) == len(before) and not now & before.keys() and _all_ready(cluster)

    until(f"{component} is back", back, 180)


def _kill_each(cluster: Cluster, report: Report, lab: Laboratory) -> None:
    """While one training runs, every pod in turn is killed; then everything is still there."""
    before = lab.rest("first")
    job = lab.start("second", LONG)
    until("a trainer works on it", lambda: lab.client.jobs.show(job.id).status is Status.RUNNING, 60)
    for component in KILLED:
        lab.still_runs(job)
        with report.step(f"{component} is killed during the training, and another takes its place"):
            _kill(cluster, component)
    lab.still_runs(job)
    with report.step("the training ends well all the same"):
        lab.finish(job, 900)
    with report.step("the first model answers as before, and the second answers"):
        alike(before, lab.rest("first"))
        lab.rest("second")


def _uninstall(cluster: Cluster, report: Report) -> None:
    with report.step("helm uninstall"):
        cluster.helm("uninstall", "aimic", "--wait")
        until("no pod is left", lambda: not cluster.pods(), 120)
    kept = cluster.kubectl("get", "secrets,persistentvolumeclaims", "-o", "name").split()
    report.say("Kept after uninstall: " + ", ".join(sorted(each for each in kept if "helm.release" not in each)))
    with report.step("installed again, it finds its secrets and its data"):
        cluster.helm("install", "aimic", str(CHART), "-f", str(CHART / "values-small.yaml"))
        until("every pod is ready", lambda: _all_ready(cluster), 300)
        with laboratory(cluster) as lab:
            models = {model.name for model in lab.client.models.list()}
        if not {"first", "second"} <= models:
            raise RuntimeError(f"models are missing: {models}")
    cluster.helm("uninstall", "aimic", "--wait")


def _whole(cluster: Cluster, report: Report, own: bool, picture: Path | None) -> None:
    _install(cluster, report)
    with tempfile.TemporaryDirectory(prefix="aimic-backup-") as made:
        backup = Path(made)
        with laboratory(cluster) as lab:
            _work(cluster, report, lab, picture)
            upgrade_and_roll_back(cluster, report, lab)
            scale(cluster, report, lab, own)
            _kill_each(cluster, report, lab)
            before = lab.rest("first")
            back_up(cluster, report, backup)
        _uninstall(cluster, report)
        restore_anew(cluster, report, backup)
        with report.step("the first model answers as before"), laboratory(cluster) as lab:
            until("every pod is ready", lambda: _all_ready(cluster), 180)
            lab.pictures.mkdir(parents=True)
            draw_set(lab.pictures)
            alike(before, lab.rest("first"))


def _revision() -> str:
    command = ("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """0 when every step passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="write the output there")
    parser.add_argument("--picture", type=Path, help="write there what the browser saw")
    parser.add_argument("--keda", action="store_true", help="start KEDA too, on a cluster of our own")
    parser.add_argument("--built", action="store_true", help="the images are built and loaded already")
    chosen = parser.parse_args()
    own = "KUBECONFIG" not in os.environ
    cluster = Cluster(Path(os.environ.get("KUBECONFIG", node.CONFIG)), "aimic-test")
    report, started, revision = Report(), False, _revision()
    try:
        if own:
            with report.step("the cluster is up"):
                started = node.up()
        if own and chosen.keda:
            with report.step("KEDA runs beside it"):
                node.keda()
        if own and not chosen.built:
            with report.step("images are built"):
                node.build_images()
            with report.step("images are in the node"):
                report.say("  " + "\n  ".join(node.load_images(cluster, "small")))
        report.say(cluster.run("kubectl", "version"))
        _whole(cluster, report, own, chosen.picture)
        report.say("PASSED. NetworkPolicies were accepted; whether they are enforced depends on the cluster's plug-in.")
    except Exception as error:
        report.say(f"{error}\n{cluster.troubles()}")
        return 1
    finally:
        cluster.run("kubectl", "delete", "namespace", cluster.namespace, check=False, timeout_s=180)
        if started:
            node.down()
    if chosen.keep:
        report.keep(chosen.keep, " ".join(sys.argv[1:]), revision)
    return 0


if __name__ == "__main__":
    sys.exit(main())
