"""The child process as the worker sees it."""

import logging
import queue
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

from pydantic import ValidationError

from services.trainer.reports import Report
from services.trainer.settings import child_environment

logger = logging.getLogger(__name__)

LAST_LINES = 60


class ChildProcess:
    """`python -m services.trainer.child DIRECTORY`. Spawned, never forked: threads and GPUs don't survive a fork."""

    def __init__(self, directory: Path, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.trainer.child", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(threads),
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._tail: deque[str] = deque(maxlen=LAST_LINES)
        self._threads = [
            threading.Thread(target=self._read_reports, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The end of what it wrote to its log."""
        return "".join(self._tail)

    def next_report(self, timeout_s: float) -> Report | None:
        """The next report, or None after a while without one."""
        try:
            return self._reports.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def ended(self) -> int | None:
        """The exit code, once it has ended and everything it said can be got without waiting."""
        code = self._process.poll()
        if code is None or any(thread.is_alive() for thread in self._threads):
            return None
        return code

    def ask_to_stop(self) -> None:
        """Ask for a last checkpoint and an end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("stop\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            logger.info("the child had ended before it was asked to")

    def close(self) -> None:
        """End it, at once if it still runs, and free its pipes."""
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(2)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                logger.debug("the child's pipe was broken already")

    def _read_reports(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._reports.put(Report.model_validate_json(line))
            except ValidationError:
                logger.warning("the child wrote a line that is no report", extra={"line": line[:500]})

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._tail.append(line)
            if line.startswith("{"):
                sys.stderr.write(line)
            elif line.strip():
                logger.warning("the child said", extra={"line": line.rstrip()[:2000]})
