"""What the three servers have in common: one process on loopback, its port, its data, its passwords, its log."""

import abc
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from aimic.errors import UnavailableError
from services.local.part import Part, PartSpec
from services.local.servers.ports import free_ports

START_S = 90.0
"""Longest time until a server is ready, on a machine that is busy."""
STOP_S = 10.0

# The kernel ends a child with the thread that started it, not with the process. Tests start servers from threads that
# end; this one thread lives as long as the process.
_STARTER = ThreadPoolExecutor(1, thread_name_prefix="servers")


class Server(abc.ABC):
    """One server. `home` keeps its data, configuration, passwords and log; the port stays over restarts."""

    name: str

    def __init__(self, home: Path, port: int | None = None) -> None:
        self.home = home.absolute()
        self.port = port or free_ports(1)[0]
        self.logs = self.home
        """Directory of its log."""
        self._part: Part | None = None

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the data directory and configuration before a start; what is there already is kept."""

    @abc.abstractmethod
    def spec(self) -> PartSpec:
        """The process."""

    @abc.abstractmethod
    def not_ready(self) -> str | None:
        """None when it answers, else the reason."""

    @abc.abstractmethod
    def environment(self) -> dict[str, str]:
        """`AIMIC_…` settings that make a service use this server."""

    def settle(self) -> None:  # noqa: B027 - most have nothing to make
        """Make what has to be inside the running server; doing it again changes nothing."""

    def start(self) -> Self:
        """Start and wait until it answers; UnavailableError with the log's tail when it does not."""
        self.launch()
        self.wait()
        return self

    def launch(self) -> None:
        """Start without waiting."""
        self.prepare()
        if self._part is None:
            self._part = Part(self.spec(), self.logs)
        if not self.running:
            _STARTER.submit(self._part.start).result()

    def wait(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Wait until it answers, and make what has to be made in it; return early when `given_up`."""
        part = self._the_part()
        deadline = time.monotonic() + START_S
        tries = 3  # PostgreSQL refuses to start while a process of the one that was killed is still ending
        while (reason := self.not_ready()) is not None:
            if given_up():
                return
            if not part.running and tries:
                tries -= 1
                time.sleep(0.5)
                _STARTER.submit(part.start).result()
            if time.monotonic() > deadline or not (part.running or tries):
                self.kill()
                raise UnavailableError(f"{self.name} did not start ({reason}). Its log says:\n{self.log_tail()}")
            time.sleep(0.1)
        self.settle()

    def watch(self) -> None:
        """Start it again if it died."""
        self._the_part().watch()

    def stop(self) -> None:
        """Ask it to end, wait, and end it by force if it does not."""
        self.ask_to_stop()
        self.end(time.monotonic() + STOP_S)

    def ask_to_stop(self) -> None:
        """Ask it to end."""
        if self._part is not None:
            self.resume()
            self._part.ask_to_stop()

    def end(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then end it by force."""
        family = self.pids()
        if self._part is not None:
            self._part.end(deadline)
        _wait_while(_lives, family)  # PostgreSQL's children are in groups of their own, and end when they miss it

    def kill(self) -> None:
        """kill -9, and wait until it and its children are gone."""
        family = self.pids()
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self.end(time.monotonic() + STOP_S)
        _wait_while(_lives, family)

    def restart(self) -> None:
        """Stop and start on the same data and port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Hold it and its children still: connections stay open and nothing answers."""
        family = self.pids()
        for pid in family:
            _signal(pid, signal.SIGSTOP)
        _wait_while(_goes_on, family)  # on a busy machine the signal reaches it some time later

    def resume(self) -> None:
        """Go on after `pause`."""
        for pid in self.pids():
            _signal(pid, signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._part is not None and self._part.running

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        pid = self._the_part().pid
        if pid is None:
            raise UnavailableError(f"{self.name} is not running.")
        return pid

    def pids(self) -> list[int]:
        """The process and its children, while it runs."""
        return [self.pid, *_children(self.pid)] if self.running else []

    def log_tail(self, lines: int = 30) -> str:
        """The last lines it wrote."""
        log = self.logs / f"{self.name}.log"
        return "\n".join(log.read_text().splitlines()[-lines:]) if log.exists() else "(nothing)"

    def secret_file(self, name: str) -> Path:
        """File with a random password of this name, made at the first question, readable by us only."""
        path = self.home / f"{name}.secret"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            # Made by mkstemp (for us only), and there under its name when it is whole.
            with tempfile.NamedTemporaryFile("w", dir=self.home, delete=False) as file:
                file.write(secrets.token_hex(20))
            Path(file.name).rename(path)
        return path

    def secret(self, name: str) -> str:
        """The password of this name."""
        return self.secret_file(name).read_text()

    def _the_part(self) -> Part:
        if self._part is None:
            raise UnavailableError(f"{self.name} was not started.")
        return self._part

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended by itself


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _wait_while(so: Callable[[int], bool], pids: list[int]) -> None:
    deadline = time.monotonic() + STOP_S
    while any(map(so, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)


def _lives(pid: int) -> bool:
    """Whether it is there and not only waiting to be reaped by whoever inherited it."""
    return _state(pid) not in {"", "Z"}


def _goes_on(pid: int) -> bool:
    """Whether it lives and is not held still."""
    return _state(pid) not in {"", "Z", "T"}


def _state(pid: int) -> str:
    """The kernel's letter for what it does; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
