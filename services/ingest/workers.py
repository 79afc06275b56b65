"""Ingest's own background work: one thread per worker, woken or polling, ended within seconds."""

import logging
import threading
import time
from typing import Protocol, runtime_checkable

from aimic.errors import UnavailableError
from aimic.telemetry import new_request_id, request_id

logger = logging.getLogger(__name__)

IDLE_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LONGEST_AWAY_S = 5.0
"""While a server is away: what waits for it goes on soon after it is back."""


class Worker(Protocol):
    """Does one kind of work. What is to be done is in the records, claimed under a lease (leases.py)."""

    name: str

    def run_one(self) -> bool:
        """Do one piece of work; False when there is nothing to do. An exception is logged and tried again."""


@runtime_checkable
class Holder(Protocol):
    """A worker that holds something for all replicas: it looks often, and lets go of it when the process ends."""

    idle_s: float
    """Seconds between two looks."""

    def leave(self) -> None:
        """Let go, so that another need not wait until the lease has run out."""


class Runner:
    """The thread of one worker."""

    def __init__(self, worker: Worker, stopping: threading.Event) -> None:
        self._worker = worker
        self._stopping = stopping
        self._idle_s = worker.idle_s if isinstance(worker, Holder) else IDLE_S
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=worker.name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; whether it did."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            self._wake.clear()
            request_id.set(new_request_id())
            try:
                busy, pause = self._worker.run_one(), FIRST_PAUSE_S
            except UnavailableError as error:
                # Foreseen, and told on `/readyz`: no trace, which would fill the log while a server is away.
                more = {"worker": self._worker.name, "reason": error.message}
                logger.warning("background work waits for a server", extra=more)
                self._stopping.wait(pause)
                busy, pause = True, min(pause * 2, LONGEST_AWAY_S)
            except Exception:
                logger.exception("background work failed; it is tried again", extra={"worker": self._worker.name})
                self._stopping.wait(pause)
                busy, pause = True, min(pause * 2, LONGEST_PAUSE_S)
            if not busy:
                self._wake.wait(self._idle_s)
        if isinstance(self._worker, Holder):
            self._worker.leave()


class Workers:
    """All background work of this process."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        """Long work looks at it between pieces and hands back what it holds."""
        self._runners: dict[str, Runner] = {}

    def add(self, worker: Worker) -> None:
        """Register a worker; its thread starts with `start`."""
        self._runners[worker.name] = Runner(worker, self.stopping)

    def wake(self, name: str) -> None:
        """There is something to do for the worker of this name (harmless when it isn't in this process)."""
        if runner := self._runners.get(name):
            runner.wake()

    def wake_all(self) -> None:
        """There may be something to do for any of them."""
        for runner in self._runners.values():
            runner.wake()

    def start(self) -> None:
        """Begin to work."""
        for runner in self._runners.values():
            runner.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End every thread, within `timeout_s` in all; what holds a lease beyond is left to the lease's end."""
        self.stopping.set()
        ends = time.monotonic() + timeout_s
        for runner in self._runners.values():
            runner.wake()
        for name, runner in self._runners.items():
            if not runner.join(max(0.0, ends - time.monotonic())):
                logger.warning("background work did not end in time", extra={"worker": name})
