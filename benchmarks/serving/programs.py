"""Programs that are measured: each is started with a log of its own, waited for, and ended with all that it started."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from benchmarks.serving.load import ROOT

READY_S = 600.0
"""A pod measures its executors before it is as quick as it will be."""
_END_S = 20.0
_OURS = ("AIMIC_", "OMP_", "KMP_", "GOMP_", "PYTHON", "TS_")


class NotStartedError(Exception):
    """A program that did not become ready, with its last words."""


def environment(**more: str) -> dict[str, str]:
    """Ours without what somebody has set to change how programs compute: each runs as it does by itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | more


class Program:
    """One process and its family. Use it as a context."""

    def __init__(self, command: Sequence[str], home: Path, env: Mapping[str, str], *, asked: bool = False) -> None:
        """Start it in `home`. `asked`: questions go to its standard input, answers come from its standard output."""
        home.mkdir(parents=True, exist_ok=True)
        self._log = home / "log.txt"
        pipe = subprocess.PIPE if asked else None
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=pipe or subprocess.DEVNULL, stdout=pipe or log, stderr=log, cwd=home, env=dict(env),
                text=True, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self, url: str, content: Callable[[httpx.Response], bool] = lambda _: True) -> None:
        """Until it answers with 200 and such content. NotStartedError when it ends before, or takes too long."""
        end = time.monotonic() + READY_S
        while self.process.poll() is None and time.monotonic() < end:
            try:
                answer = httpx.get(url, timeout=5, trust_env=False)
                if answer.status_code == 200 and content(answer):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise NotStartedError(self.last_words)

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-1500:].strip()

    def ask(self, question: str) -> str:
        """One line for one line. NotStartedError when it has ended."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        answer: str = self.process.stdout.readline()
        if not answer:
            raise NotStartedError(self.last_words)
        return answer

    def stop(self) -> None:
        """SIGTERM for the family, and kill what stays."""
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass  # all of it has ended


@contextmanager
def busy_core(home: Path) -> Iterator[None]:
    """A stranger who keeps one core busy as long as the block lasts."""
    with Program([sys.executable, "-c", "while True: pass"], home, environment()):
        time.sleep(0.5)
        yield


def module(name: str, *arguments: str) -> list[str]:
    """What starts a module of ours with this Python."""
    return [sys.executable, "-m", name, *arguments]


def at_root(**more: str) -> dict[str, str]:
    """The environment in which our modules are found from anywhere."""
    return environment(PYTHONPATH=str(ROOT), **more)
