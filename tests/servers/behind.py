"""The three servers behind proxies, and services that use them through these: what tests of absent servers need."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from services.local.servers import install
from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.ports import free_ports
from services.local.servers.postgres import Postgres
from services.local.servers.toxiproxy import Proxy, Toxiproxy

READY_S = 120.0


class Behind:
    """A proxy before each server, and the settings that lead through them to a database and bucket of one's own."""

    def __init__(self, records: Proxy, objects: Proxy, events: Proxy, environment: dict[str, str]) -> None:
        self.records, self.objects, self.events = records, objects, events
        self.environment = environment

    def heal(self) -> None:
        """All three as if nothing had been."""
        for proxy in (self.records, self.objects, self.events):
            proxy.heal()


@contextmanager
def proxied(postgres: Postgres, kafka: Kafka, minio: Minio) -> Iterator[Behind]:
    """Within the block."""
    with Toxiproxy(install.toxiproxy()) as toxiproxy, postgres.fresh_database() as database:
        records = toxiproxy.proxy(f"127.0.0.1:{postgres.port}")
        objects = toxiproxy.proxy(f"127.0.0.1:{minio.port}")
        events = toxiproxy.proxy(f"127.0.0.1:{kafka.behind_proxy_port}", kafka.proxied_port)
        environment = {
            **database.environment(port=records.port),
            **minio.environment(bucket=None, port=objects.port),
            "AIMIC_EVENTS_URL": kafka.proxied_url,
        }
        yield Behind(records, objects, events, environment)


class Service:
    """`python -m services.NAME` as a process, ended with the block."""

    def __init__(self, name: str, home: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.port, self.ops_port, self.grpc_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / f"{name}.log"
        home.mkdir(parents=True, exist_ok=True)
        upper = name.upper()
        self._environment = {
            **os.environ,
            **environment,
            "AIMIC_HOME": str(home),
            f"AIMIC_{upper}_PORT": str(self.port),
            f"AIMIC_{upper}_OPS_PORT": str(self.ops_port),
            "AIMIC_INFERENCE_GRPC_PORT": str(self.grpc_port),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, and wait until it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.name}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        ends = time.monotonic() + READY_S
        while not self._ready():
            assert self._process.poll() is None and time.monotonic() < ends, self.log.read_text()[-5000:]
            time.sleep(0.05)
        return self

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self, timeout_s: float) -> int:
        """SIGTERM; the exit status, within `timeout_s`."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout_s)

    def ops(self, path: str, timeout_s: float = 1.0) -> httpx.Response:
        """What the operations port answers, within `timeout_s`."""
        return httpx.get(f"http://127.0.0.1:{self.ops_port}{path}", timeout=timeout_s, trust_env=False)

    def gauge(self, name: str) -> float | None:
        """A value of `/metrics`, by its name with labels; None when it isn't there."""
        lines = self.ops("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), None)

    def _ready(self) -> bool:
        try:
            return self.ops("/readyz").is_success
        except httpx.HTTPError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def until(condition: Any, timeout_s: float, what: str) -> Any:
    """What `condition()` gives once that is true; AssertionError after `timeout_s`.

    A question that isn't answered is asked again: on a busy machine a process may stand still for a while.
    """
    ends = time.monotonic() + timeout_s
    while not (found := _answer(condition)):
        assert time.monotonic() < ends, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.1)
    return found


def _answer(condition: Any) -> Any:
    try:
        return condition()
    except httpx.TransportError:
        return None
