"""kubectl and Helm, and what they say when something is wrong."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from services.local.servers.install import helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "aimic"


class Cluster:
    """One namespace of one cluster."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def run(self, *command: str, timeout_s: float = 120.0, check: bool = True) -> str:
        """What a command printed; RuntimeError with its own words when it fails."""
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    def kubectl(self, *words: str, timeout_s: float = 120.0, check: bool = True) -> str:
        """`kubectl` in our namespace."""
        return self.run("kubectl", "-n", self.namespace, *words, timeout_s=timeout_s, check=check)

    def pipe(self, *words: str, source: Path | None = None, target: Path | None = None) -> None:
        """`kubectl` with a file as its input, or with one for its output."""
        with (source or Path(os.devnull)).open("rb") as given, (target or Path(os.devnull)).open("wb") as out:
            done = subprocess.run(
                ("kubectl", "-n", self.namespace, *words),
                env=self._environment, stdin=given, stdout=out, stderr=subprocess.PIPE, timeout=600, check=False,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: {done.stderr.decode(errors='replace').strip()[-2000:]}")

    def helm(self, *words: str, timeout_s: float = 120.0) -> str:
        """`helm` in our namespace."""
        return self.run(str(helm()), "-n", self.namespace, *words, timeout_s=timeout_s)

    def pods(self, component: str | None = None) -> list[dict[str, Any]]:
        """The pods of AIMIC, or of one of its components."""
        labels = ["app.kubernetes.io/instance=aimic"]
        labels += [f"app.kubernetes.io/component={component}"] if component else []
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", "pods", "-l", ",".join(labels), "-o", "json"))[
            "items"
        ]
        return found

    def secret(self, name: str, key: str) -> str:
        """A secret's value."""
        return self.kubectl(
            "get", "secret", name, "-o", f"go-template={{{{index .data {json.dumps(key)} | base64decode}}}}"
        )

    @contextmanager
    def forward(self, service: str, port: int, local: int) -> Iterator[None]:
        """`127.0.0.1:local` leads to a service's port for as long as this lasts; begun again when its pod goes."""
        command = "while :; do kubectl -n {} port-forward service/{} {}:{} || sleep 0.5; done"
        loop = subprocess.Popen(
            ("sh", "-c", command.format(self.namespace, service, local, port)),
            env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(loop.pid, 15)
            loop.wait()

    def troubles(self) -> str:
        """Pods, events and last words, for whoever has to find out why."""
        parts = [
            self.kubectl("get", "pods", "-o", "wide", check=False),
            self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-4000:],
        ]
        for pod in self.pods():
            if not is_ready(pod):
                name = pod["metadata"]["name"]
                said = self.kubectl("logs", name, "--all-containers", "--tail=15", check=False)
                parts.append(f"--- {name}\n{said}")
        return "\n".join(parts)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether it takes requests."""
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in pod.get("status", {}).get("conditions", ())
    )


def until(what: str, true: Callable[[], bool], seconds: float) -> None:
    """Wait; TimeoutError that names what did not happen."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(1.0)
