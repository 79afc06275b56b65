"""A cluster of our own and the images in it, where KUBECONFIG names none."""

import os
import subprocess
from pathlib import Path

from tests.cluster.kubernetes import CHART, ROOT, Cluster

PROGRAM = Path(os.environ.get("AIMIC_CLUSTER", ROOT.parent / "shared" / "cluster" / "cluster"))
CONFIG = Path("/var/lib/aimic-cluster/admin.conf")
DOCKER = "/usr/bin/docker"
SERVICES = ("ingest", "dashboard", "inference", "trainer")
STAND_INS = ("postgres", "kafka", "minio", "caddy")


def _do(*command: str | Path, seconds: float) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stdout + done.stderr).strip()[-2000:]}")


def up() -> bool:
    """Start it; False when it was up already, and then it is not ours to stop."""
    Path("/var/lib/aimic-cluster/log").mkdir(parents=True, exist_ok=True)
    if CONFIG.exists():
        return False
    _do(PROGRAM, "up", seconds=1500)
    return True


def down() -> None:
    """Stop it and forget its state."""
    _do(PROGRAM, "down", seconds=120)


def keda() -> None:
    """KEDA's operator beside the API server; it is built at the first time (13 minutes)."""
    _do(PROGRAM, "keda", seconds=2400)


def build_images() -> None:
    """Those of AIMIC, and stand-ins for the official ones; what is built already costs nothing."""
    _do(ROOT / "tests" / "cluster" / "images" / "stand-ins.sh", "base", *STAND_INS, seconds=1200)
    _do(ROOT / "scripts" / "images.sh", *SERVICES, seconds=3000)


def load_images(cluster: Cluster, profile: str) -> list[str]:
    """Carry what the chart names into the node; gives their names."""
    said = cluster.helm("template", "aimic", str(CHART), "-f", str(CHART / f"values-{profile}.yaml"))
    words = [line.split()[-1].strip('"') for line in said.splitlines() if line.strip().startswith("image: ")]
    images = sorted(set(words))
    _do(PROGRAM, "load", *images, seconds=1500)
    return images
