"""The whole platform as one tree of processes: servers first, services on top of them."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import httpx

from services.local.part import Part, PartSpec
from services.local.servers.server import Server

STOP_S = 8.0
"""Time all get to finish; with the ends by force it stays below the promised 10 s."""
INGEST_STOP_S = 1.5
SERVERS_STOP_S = 1.5
"""Of that, what is kept for ingest, to which trainers hand their work back first, and for the servers below it."""

LOOK_S = 0.1
"""Between two looks at the parts, and at whether to stop."""


class Supervisor:
    """Starts the parts, keeps them running, and ends them all. Servers start before the rest and end after it."""

    def __init__(self, specs: tuple[PartSpec, ...], logs: Path, servers: tuple[Server, ...] = ()) -> None:
        self._parts = [Part(spec, logs) for spec in specs]
        self._servers = servers
        self._asked = False
        """Whether to stop. No threading.Event: `set` takes a lock, for which a signal's handler that came while this
        very thread held it, between two waits, would wait for ever."""

    def stop_on_signals(self) -> None:
        """Ctrl-C and SIGTERM end the platform; a second one changes nothing."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def run(self, when_ready: Callable[[], None]) -> None:
        """Keep the parts running until asked to stop. `when_ready` is called once, on this thread."""
        announced = False
        everyone: tuple[Part | Server, ...] = (*self._servers, *self._parts)
        try:
            self._start_servers()
            if not self._asked:
                for part in self._parts:
                    part.start()
            while not self._asked:
                for one in everyone:
                    one.watch()
                if not announced and self._all_ready():
                    announced = True
                    when_ready()
                time.sleep(LOOK_S)
        finally:
            self._stop_all()

    def _start_servers(self) -> None:
        for server in self._servers:
            server.launch()
        for server in self._servers:
            server.wait(lambda: self._asked)

    def _stop_all(self) -> None:
        last = time.monotonic() + STOP_S
        ingests = [part for part in self._parts if part.spec.ends_late]
        before = [part for part in self._parts if not part.spec.ends_late]
        late = last - (SERVERS_STOP_S if self._servers else 0)
        for group, deadline in ((before, late - INGEST_STOP_S), (ingests, late), (self._servers, last)):
            for one in group:
                one.ask_to_stop()
            for one in group:
                one.end(deadline)

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
