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


MOST_TASKS = 50
"""Tasks after which a child is replaced, so that memory that leaks somewhere is given back."""


KILL_S = 10.0
"""Longest wait for the end of a child that was killed."""


class ChildProcess:
    """`python -m services.trainer.child`. Spawned, never forked: threads and GPUs don't survive a fork."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.tasks = 0
        """How many tasks it was given."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "services.trainer.child"],
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

    def begin(self, directory: Path) -> None:
        """Give it the task in `directory`."""
        self.tasks += 1
        self._say(f"task {directory}")

    def ask_to_stop(self) -> None:
        """Ask for a last checkpoint and an end of the task."""
        self._say("stop")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            logger.info("the child had ended before it could be told", extra={"line": line})

    def close(self) -> None:
        """End it, at once if it still runs, and free its pipes."""
        self._process.kill()
        try:
            self._process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            # It hangs within the system (a driver, a disk), which ends it when that lets go. Its pipes stay open:
            # closing them would wait for the threads that read them, and so for it.
            logger.error("the child can't be ended; it is left alone", extra={"child": self.pid})
            return
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


class Children:
    """Keeps a child that did its task well for the next one."""

    def __init__(self) -> None:
        self._idle: ChildProcess | None = None

    def get(self, threads: int) -> ChildProcess:
        """A child with that many threads: the one at rest, or a new one."""
        child, self._idle = self._idle, None
        if child is not None:
            if child.threads == threads and child.tasks < MOST_TASKS and child.ended() is None:
                return child
            child.close()
        return ChildProcess(threads)

    def keep(self, child: ChildProcess) -> None:
        """It did its task well."""
        self._idle = child

    def close(self) -> None:
        """End the one at rest and free its memory."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None
