"""A process of the stack: started again whenever it dies, as Kubernetes would, unless it is held down."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil

WATCH_S = 0.1
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_us() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """`python -m MODULE`, supervised."""

    def __init__(self, name: str, module: str, environment: dict[str, str], ops_port: int, logs: Path) -> None:
        self.name, self.ops_port = name, ops_port
        self.deaths = 0
        self._module, self._environment = module, environment
        self._log = logs / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._down = True
        self._lock = threading.Lock()

    def start(self) -> None:
        """Let the watch start it and keep it running."""
        with self._lock:
            self._down = False

    def hold_down(self) -> None:
        """kill -9, and don't start it again before `start`."""
        with self._lock:
            self._down = True
            self._end()

    def watch(self) -> None:
        """Start it if it should run and doesn't. By one long-lived thread: the kernel ends it with the thread."""
        with self._lock:
            if not self._down and (self._process is None or self._process.poll() is not None):
                self.deaths += self._process is not None
                self._spawn()

    def kill(self) -> None:
        """kill -9; it is started again."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT; harmless to one that runs."""
        self._signal(signal.SIGCONT)

    def kill_child(self) -> bool:
        """kill -9 of the child that trains, if there is one."""
        with self._lock:
            if self._process is None:
                return False
            try:
                children = psutil.Process(self._process.pid).children()
                for child in children:
                    child.kill()
            except psutil.NoSuchProcess:
                return False
        return bool(children)

    def not_ready(self) -> str | None:
        """Why it isn't ready, or None."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.ops_port}/readyz", timeout=2, trust_env=False)
        except httpx.HTTPError as error:
            return f"{self.name}: {type(error).__name__}"
        return None if answer.is_success else f"{self.name}: {answer.text[:200]}"

    def _signal(self, number: int) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_us,  # noqa: PLW1509 - one prctl call, safe between fork and exec
            )

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Watch:
    """The thread that starts dead processes again."""

    def __init__(self, processes: dict[str, Process]) -> None:
        self._processes = processes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Leave every process as it is."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(WATCH_S):
            for process in self._processes.values():
                process.watch()
