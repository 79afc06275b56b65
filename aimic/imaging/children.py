"""The processes of the sandbox as their parent sees them: started when needed, fed, timed, killed."""

import contextlib
import os
import select
import subprocess
import sys
import threading
import time

from aimic.errors import UnavailableError
from aimic.imaging.frames import HEADER, MAX_FRAME, READY
from aimic.imaging.limits import MIB, Limits

_START_SECONDS = 60.0
_IMAGES_PER_CHILD = 5_000


class DiedError(Exception):
    """The child is gone."""


class TooSlowError(Exception):
    """The child is still at it."""


class Child:
    """One process, started when it is first needed."""

    def __init__(self, limits: Limits, seconds: float, memory: int) -> None:
        sizes = (limits.max_bytes, limits.max_pixels, limits.max_side, memory, int(seconds) + 1)
        self._command = [sys.executable, "-m", "aimic.imaging.sandbox_child", *map(str, sizes)]
        self._process: subprocess.Popen[bytes] | None = None
        self._done = 0
        # Held while an answer is read: whoever stops us from another thread kills first and closes the pipes only
        # when nobody reads from them any more, since a closed file's number may by then be another file's.
        self._reading = threading.RLock()

    def ask(self, data: bytes, seconds: float) -> bytes:
        """Send one file and wait for the answer's frame. DiedError or TooSlowError when it ended without one."""
        with self._reading:
            return self._ask(data, seconds)

    def _ask(self, data: bytes, seconds: float) -> bytes:
        if self._done >= _IMAGES_PER_CHILD:
            # What a codec leaks must not add up until good images are refused.
            self.stop()
        process = self._process or self._start()
        self._done += 1
        deadline = time.monotonic() + seconds
        # A child that hangs while it is fed would block the write, so that the write has a thread of its own.
        feeder = threading.Thread(target=_feed, args=(process, data), daemon=True)
        feeder.start()
        try:
            frame = _read_frame(process, deadline)
        except BaseException:
            # An answer that nobody waited for must never be taken for that of the next file.
            self.stop()
            raise
        feeder.join(1.0)
        return frame

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        self._process, self._done = process, 0
        try:
            if _read_frame(process, time.monotonic() + _START_SECONDS) == READY:
                return process
        except (DiedError, TooSlowError):
            pass
        self.stop()
        raise UnavailableError(
            "The process that reads images can't be started; no image was read. Try again, then look at `aimic doctor`."
        )

    def stop(self) -> None:
        """Kill the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        with self._reading:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


def _environment() -> dict[str, str]:
    """No secrets in a process that reads hostile files; the same modules as here, and one thread each."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _feed(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    assert process.stdin is not None
    # A dead child shows itself when its answer is read.
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(HEADER.pack(len(data)))
        process.stdin.write(data)
        process.stdin.flush()


def _read_frame(process: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    (length,) = HEADER.unpack(_read_exactly(process, HEADER.size, deadline))
    if length > MAX_FRAME:
        raise DiedError
    return _read_exactly(process, length, deadline)


def _read_exactly(process: "subprocess.Popen[bytes]", size: int, deadline: float) -> bytes:
    assert process.stdout is not None
    parts, left = [], size
    file = process.stdout.fileno()
    # poll, since select knows no file numbers beyond 1023.
    readable = select.poll()
    readable.register(file, select.POLLIN)
    while left:
        if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TooSlowError
        piece = os.read(file, min(left, MIB))
        if not piece:
            raise DiedError
        parts.append(piece)
        left -= len(piece)
    return b"".join(parts)
