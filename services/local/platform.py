"""`aimic up` as a child process: for the demo, the benchmarks, and the tests of the whole."""

import os
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import IO, Self

from aimic.errors import UnavailableError
from services.local.lock import read_holder
from services.local.settings import LocalSettings

START_S = 120.0
"""Longest time until everything is ready, on a machine that is busy and cold."""
STOP_S = 20.0
"""It needs less than 10; on a machine that does much else, Python alone may take seconds to end."""


class Platform:
    """A running platform; as a context manager it is stopped at the end."""

    def __init__(self, settings: LocalSettings, quiet: bool = False) -> None:
        self.settings = settings
        self._log = settings.home / "logs" / "up.log"
        self._log.unlink(missing_ok=True)
        if not quiet:
            self.process = self._start(None)
            return
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as out:
            self.process = self._start(out)

    def _start(self, out: IO[str] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "services.local", "up"],
            env={**os.environ, **self.settings.child_environment()},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )

    def wait_until_ready(self) -> None:
        """Return once every part is ready; UnavailableError when the platform ends or takes too long."""
        deadline = time.monotonic() + START_S
        while self.process.poll() is None and time.monotonic() < deadline:
            holder = read_holder(self.settings.lock_file) or {}
            if holder.get("pid") == self.process.pid and holder.get("ready"):
                return
            time.sleep(0.1)
        said = self._log.read_text().strip() if self._log.exists() else ""
        raise UnavailableError(f"The platform did not start; its logs are in {self._log.parent}. {said}")

    def stop(self) -> int:
        """What Ctrl-C does, and by force what hasn't ended then; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode

    def kill(self) -> None:
        """kill -9 of the supervisor; the kernel ends its parts."""
        self.process.kill()
        self.process.wait(STOP_S)

    def __enter__(self) -> Self:
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
