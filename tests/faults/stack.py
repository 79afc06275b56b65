"""The long-lived stack: two replicas of ingest behind a balancer, two trainers, one inference, and their servers."""

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from aimic import wiring
from aimic.ports.blobs import Blobs
from aimic.ports.events import Events
from aimic.settings import Settings
from services.local.servers.ports import free_ports
from services.local.servers.together import fields
from tests.faults.balancer import Balancer
from tests.faults.calls import Calls
from tests.faults.ground import Ground
from tests.faults.listening import Ear
from tests.faults.process import Process, Watch

START_S = 180.0
MODULES = {
    "ingest-0": "services.ingest",
    "ingest-1": "services.ingest",
    "trainer-0": "services.trainer",
    "trainer-1": "services.trainer",
    "inference": "services.inference",
}
_SETTINGS = {
    "AIMIC_TRAINER_POLL_S": "3",
    "AIMIC_TRAINER_CHECKPOINT_S": "0.05",
    "AIMIC_TRAINER_EPOCH_CHECKPOINT_S": "0.001",
    "AIMIC_INFERENCE_POLL_S": "1",
    "AIMIC_INFERENCE_LONGEST_POLL_S": "3",
    "AIMIC_INFERENCE_DECODERS": "1",
    "AIMIC_LOG_LEVEL": "INFO",
    "OMP_WAIT_POLICY": "PASSIVE",
}


class Stack:
    """Everything that a history runs on. `home` keeps all data and every log."""

    def __init__(self, home: Path, ground: Ground, lease_s: float) -> None:
        self.home, self.ground, self.lease_s = home, ground, lease_s
        self.logs, self.faults = home / "logs", home / "faults"
        for directory in (self.logs, self.faults):
            directory.mkdir(parents=True, exist_ok=True)
        ports = free_ports(2 * len(MODULES) + 3)
        self.ops = dict(zip(MODULES, ports, strict=False))
        self.ports = dict(zip(MODULES, ports[len(MODULES) :], strict=False))
        balancer, self._grpc, _ = ports[-3:]
        self._balancer = Balancer(balancer, (self.ports["ingest-0"], self.ports["ingest-1"]))
        self.processes: dict[str, Process] = {}
        self._undo = contextlib.ExitStack()
        self._watch = Watch(self.processes)
        self.ear = Ear(self.events)

    def start(self) -> None:
        """Start everything; TimeoutError when it doesn't get ready."""
        self._undo.callback(self.ground.stop)
        self.ground.start()
        self.processes |= {name: self._process(name) for name in MODULES}
        self._undo.callback(self._end_processes)
        self._balancer.start()
        self._undo.callback(self._balancer.stop)
        self._watch.start()
        self._undo.callback(self._watch.stop)
        self.processes["ingest-0"].start()
        self._wait(("ingest-0",))  # it makes the tables
        for process in self.processes.values():
            process.start()
        self._wait(tuple(MODULES))
        self.ear.start()
        self._undo.callback(self.ear.stop)

    def stop(self) -> None:
        """End everything that was started."""
        self._undo.close()

    def _end_processes(self) -> None:
        for process in self.processes.values():
            process.thaw()
            process.hold_down()

    def heal(self) -> None:
        """As if nothing had gone wrong: everything runs, nothing is armed; TimeoutError when it doesn't recover."""
        self.ground.heal()
        for left in self.faults.iterdir():
            left.unlink(missing_ok=True)
        for process in self.processes.values():
            process.thaw()
            process.start()
        self._wait(tuple(MODULES))

    def settings(self) -> Settings:
        """Settings that lead past every proxy."""
        return Settings(**fields(self.ground.direct()), home=self.home / "suite")

    def blobs(self) -> Blobs:
        """The objects, directly."""
        return wiring.blobs(self.settings())

    def events(self) -> Events:
        """The event log, directly."""
        return wiring.events(self.settings())

    def engine(self) -> Engine:
        """The records, directly and past row-level security."""
        return self.ground.engine()

    def ingest(self) -> Calls:
        """Calls to both replicas in turn."""
        return Calls(tuple(f"http://127.0.0.1:{self.ports[name]}" for name in ("ingest-0", "ingest-1")))

    def inference(self) -> Calls:
        """Calls to inference."""
        return Calls((f"http://127.0.0.1:{self.ports['inference']}",))

    def empty_inference(self) -> None:
        """A new inference pod: nothing on its disk."""
        process = self.processes["inference"]
        process.hold_down()
        shutil.rmtree(self.home / "inference", ignore_errors=True)
        process.start()

    def _process(self, name: str) -> Process:
        kind = name.partition("-")[0]
        own: dict[str, Any] = {
            "AIMIC_HOME": self.home / name,
            "AIMIC_FAULTS_DIR": self.faults,
            "AIMIC_LEASE_S": self.lease_s,
            "AIMIC_INGEST_URL": self._balancer.url,
            f"AIMIC_{kind.upper()}_OPS_PORT": self.ops[name],
            f"AIMIC_{kind.upper()}_PORT": self.ports[name],
            "AIMIC_INFERENCE_GRPC_PORT": self._grpc,
            "AIMIC_TRAINER_NAME": name,
        }
        environment = {**_SETTINGS, **self.ground.environment(), **{key: str(value) for key, value in own.items()}}
        return Process(name, MODULES[kind if kind in MODULES else name], environment, self.ops[name], self.logs)

    def _wait(self, names: tuple[str, ...]) -> None:
        ends = time.monotonic() + START_S
        waiting = list(names)
        while waiting:
            reasons = {name: self.processes[name].not_ready() for name in waiting}
            waiting = [name for name, reason in reasons.items() if reason is not None]
            if waiting and time.monotonic() > ends:
                raise TimeoutError(f"not ready: {reasons}; logs: {self.logs}")
            time.sleep(0.1 if waiting else 0)


def clear_environment() -> None:
    """What a person has set for an installation of their own is not for the suite; nor is measuring executors."""
    for name in [name for name in os.environ if name.startswith("AIMIC_")]:
        del os.environ[name]
    os.environ["AIMIC_INFERENCE_EXECUTOR"] = "eager"
    os.environ["AIMIC_TRAINER_EXECUTORS"] = "none"
