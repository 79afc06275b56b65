"""The whole platform as one tree of processes."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from services.local.part import Part, PartSpec
from services.local.settings import LocalSettings

logger = logging.getLogger(__name__)

STOP_S = 8.0
"""Time the parts get to finish; with the ends by force it stays below the promised 10 s."""


def part_specs(settings: LocalSettings) -> tuple[PartSpec, ...]:
    """The five parts, in the order in which they are started."""
    modules = {
        "ingest": ("services.ingest", settings.ingest_ops_port),
        "inference": ("services.inference", settings.inference_ops_port),
        "trainer": ("services.trainer", settings.trainer_ops_port),
        "dashboard": ("services.dashboard", settings.dashboard_ops_port),
        "front": ("services.local.front", settings.front_ops_port),
    }
    common = settings.child_environment()
    # Only the front and the gRPC port may face the network; the rest stays on loopback behind the front.
    # Operations ports ask for no key, so they never do.
    hosts = {name: {"AIMIC_HOST": "127.0.0.1", "AIMIC_OPS_HOST": "127.0.0.1"} for name in modules}
    hosts["front"] |= {"AIMIC_HOST": settings.host}
    hosts["inference"] |= {"AIMIC_INFERENCE_GRPC_HOST": settings.host}
    return tuple(
        PartSpec(
            name=name,
            command=(sys.executable, "-m", module),
            ops_port=port,
            environment={**common, **hosts[name]},
        )
        for name, (module, port) in modules.items()
    )


class Supervisor:
    """Starts the parts, keeps them running, and ends them all."""

    def __init__(self, specs: tuple[PartSpec, ...], logs: Path) -> None:
        self._parts = [Part(spec, logs) for spec in specs]
        self._stopping = threading.Event()

    def stop_on_signals(self) -> None:
        """Ctrl-C and SIGTERM end the platform; a second one changes nothing."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stopping.set())

    def run(self, when_ready: Callable[[], None]) -> None:
        """Keep the parts running until asked to stop. `when_ready` is called once, on this thread."""
        for part in self._parts:
            part.start()
        announced = False
        try:
            while not self._stopping.wait(0.1):
                for part in self._parts:
                    part.watch()
                if not announced and self._all_ready():
                    announced = True
                    when_ready()
        finally:
            self._stop_all()

    def _stop_all(self) -> None:
        deadline = time.monotonic() + STOP_S
        for part in self._parts:
            part.ask_to_stop()
        for part in self._parts:
            part.stop(deadline)

    def _all_ready(self) -> bool:
        return all(is_ready(port) is None for part in self._parts if (port := part.spec.ops_port) is not None)


def is_ready(ops_port: int) -> str | None:
    """None when the part behind this operations port is ready, else the reason."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{ops_port}/readyz", timeout=2)
    except httpx.HTTPError as error:
        return f"does not answer ({type(error).__name__})"
    if answer.status_code == httpx.codes.OK:
        return None
    return str(answer.json().get("reason", answer.status_code))
