"""One supervised process: started, watched, started again when it dies, stopped with all its descendants."""

import contextlib
import ctypes
import logging
import logging.handlers
import os
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

from aimic.domain.base import Value

logger = logging.getLogger(__name__)

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_STEADY_S = 30.0
"""A part that ran this long is healthy again: its next death is answered at once."""


class PartSpec(Value):
    """What a part is: a name for people, a command, and where it says that it is ready."""

    name: str
    command: tuple[str, ...]
    ops_port: int | None = None
    """Where it answers `/readyz`; None for a server that isn't ours."""
    environment: dict[str, str] = {}
    """Variables set over our own."""
    directory: Path | None = None
    """Working directory; ours when None."""
    stop_signal: int = signal.SIGTERM
    ends_late: bool = False
    """Whether it is asked to stop only when those that need it have ended."""


def _die_with_parent(parent: int) -> None:
    # Runs in the child between fork and exec. If `aimic up` itself is killed, nothing may be left behind.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before the kernel knew
        os._exit(1)


class Part:
    """A process of the platform. Not thread-safe: the supervisor's loop alone calls it."""

    def __init__(self, spec: PartSpec, logs: Path) -> None:
        self.spec = spec
        self.restarts = 0
        self._log_path = logs / f"{spec.name}.log"
        self._log = _rotating_log(self._log_path)
        self._process: subprocess.Popen[bytes] | None = None
        self._pump_thread: threading.Thread | None = None
        self._started = 0.0
        self._start_again_at: float | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches the supervisor only."""
        self._start_again_at = None
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            self.spec.command,
            cwd=self.spec.directory,
            env={**os.environ, **self.spec.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(_die_with_parent, os.getpid()),  # noqa: PLW1509 - two system calls, safe before exec
        )
        self._pump_thread = threading.Thread(target=self._pump, args=(self._process,), daemon=True)
        self._pump_thread.start()

    def _pump(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._log.info("%s", line.decode(errors="replace").rstrip())

    def watch(self) -> None:
        """Notice a death and start again, after a pause that doubles while deaths follow closely."""
        if self._process is not None and self._process.poll() is not None:
            self._note_death(self._process)
        if self._start_again_at is not None and time.monotonic() >= self._start_again_at:
            self.start()

    def _note_death(self, process: subprocess.Popen[bytes]) -> None:
        _kill_group(process.pid)
        self._process = None
        lived = time.monotonic() - self._started
        self.restarts = 0 if lived >= _STEADY_S else self.restarts + 1
        pause = min(30.0, 0.25 * 2**self.restarts)
        self._start_again_at = time.monotonic() + pause
        logger.error(
            "%s died (exit status %s) after %.0f s; starting it again in %.1f s. Its log: %s",
            self.spec.name, process.returncode, lived, pause, self._log_path,
        )  # fmt: skip

    def ask_to_stop(self) -> None:
        """The stop signal (SIGTERM): finish what was admitted, checkpoint, go."""
        self._start_again_at = None
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.spec.stop_signal)

    def end(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then end it and every descendant by force."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop in time and is ended by force", self.spec.name)
        _kill_group(self._process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel ends it when it can
            self._process.wait(2)
        self._process = None
        if self._pump_thread is not None:
            self._pump_thread.join(1)
        for handler in self._log.handlers:
            handler.close()


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _rotating_log(path: Path) -> logging.Logger:
    # Ten megabytes and two older ones: a log must never fill the disk that the images need.
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=10_000_000, backupCount=2)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger(f"aimic.part.{path}")
    log.propagate = False
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    return log
