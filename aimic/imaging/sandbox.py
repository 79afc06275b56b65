"""Files from outside are decoded in processes that may die: by a bomb, a crash in a codec, or an endless loop.

The parent never decodes. Children are started by `python -m`, not forked, with an empty environment, bounded
memory and processor time; they get bytes and give back plain frames (no pickle).
"""

import contextlib
import logging
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

from aimic.errors import UnavailableError, UnreadableImageError
from aimic.imaging.examine import Examined
from aimic.imaging.frames import HEADER, MAX_FRAME, READY, unpacked
from aimic.imaging.limits import DEFAULT_LIMITS, MIB, Limits, check_bytes, seconds_allowed

__all__ = ["Examined", "Sandbox"]

logger = logging.getLogger(__name__)

K = TypeVar("K")

_START_SECONDS = 60.0
_IMAGES_PER_CHILD = 5_000
_TOO_SLOW = "Reading the picture took more than {seconds:.3g} s, so it was stopped. The file may be damaged."
_CRASHED = "Reading the picture made the image library crash, so it was left out. The file is probably damaged."


class _DiedError(Exception):
    """The child is gone."""


class _TimeoutError(Exception):
    """The child is still at it."""


class Sandbox:
    """A pool of children that examine images. Threads may share it; `close` (or `with`) ends the children.

    `seconds` bounds the wall clock of one image (large files get more, see `seconds_allowed`), `memory` (bytes)
    what a child may take beyond its libraries: the default holds 100 megapixels in 16-bit RGBA.
    """

    def __init__(
        self,
        processes: int = 2,
        limits: Limits = DEFAULT_LIMITS,
        *,
        seconds: float = 60.0,
        memory: int = 3072 * MIB,
    ) -> None:
        self.processes = processes
        self.limits = limits
        self.seconds = seconds
        self.memory = memory
        self._closed = False
        self._children: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._all = [_Child(self) for _ in range(processes)]
        for child in self._all:
            self._children.put(child)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all children at once, also in the middle of an image; whoever waits gets an UnavailableError."""
        self._closed = True
        for child in self._all:
            child.stop()

    def examine(self, data: bytes) -> Examined:
        """Strip, decode and describe one file; waits for a free child. UnreadableImageError with the reason.

        A child that dies costs this file only, and only if a second, fresh child dies of it too.
        """
        check_bytes(len(data), self.limits)
        child = self._children.get()
        try:
            return self._examined(child, data)
        finally:
            self._children.put(child)

    def _examined(self, child: "_Child", data: bytes) -> Examined:
        for _ in range(2):
            if self._closed:
                raise UnavailableError("Reading images was stopped; this one was not read.")
            try:
                return unpacked(child.ask(data, seconds_allowed(self.seconds, len(data))), data)
            except UnreadableImageError:
                raise
            except _TimeoutError:
                child.stop()
                raise UnreadableImageError(_TOO_SLOW.format(seconds=seconds_allowed(self.seconds, len(data)))) from None
            except (_DiedError, ValueError, KeyError, TypeError):
                logger.warning("a sandbox child died while it read an image; a new one is started")
                child.stop()
        raise UnreadableImageError(_CRASHED)

    def map(self, items: Iterable[tuple[K, bytes]]) -> Iterator[tuple[K, Examined | UnreadableImageError]]:
        """Examine (key, data) pairs side by side; answers in the order of `items`, refusals as values.

        At most 4 × processes files are held at a time, so that any number of them stays flat in memory.
        When `items` breaks off with an exception, what came before is answered first.
        """
        waiting: deque[tuple[K, Future[Examined | UnreadableImageError]]] = deque()
        with ThreadPoolExecutor(self.processes, "sandbox") as threads:
            try:
                source = _Until(items)
                for key, data in source:
                    waiting.append((key, threads.submit(self._judged, data)))
                    if len(waiting) >= 4 * self.processes:
                        first, future = waiting.popleft()
                        yield first, future.result()
                while waiting:
                    first, future = waiting.popleft()
                    yield first, future.result()
                source.raise_failure()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _judged(self, data: bytes) -> Examined | UnreadableImageError:
        try:
            return self.examine(data)
        except UnreadableImageError as error:
            return error


class _Until(Generic[K]):
    """Items up to the first exception, which is kept for later."""

    def __init__(self, items: Iterable[tuple[K, bytes]]) -> None:
        self._items = items
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[tuple[K, bytes]]:
        try:
            yield from self._items
        except Exception as error:
            self._failure = error

    def raise_failure(self) -> None:
        """Raise what ended the items, if anything did."""
        if self._failure is not None:
            raise self._failure


class _Child:
    """One process, started when it is first needed."""

    def __init__(self, sandbox: Sandbox) -> None:
        limits = sandbox.limits
        sizes = (limits.max_bytes, limits.max_pixels, limits.max_side, sandbox.memory, int(sandbox.seconds) + 1)
        self._command = [sys.executable, "-m", "aimic.imaging.sandbox_child", *map(str, sizes)]
        self._process: subprocess.Popen[bytes] | None = None
        self._done = 0

    def ask(self, data: bytes, seconds: float) -> bytes:
        """Send one file and wait for the answer's frame."""
        if self._done >= _IMAGES_PER_CHILD:
            # What a codec leaks must not add up until good images are refused.
            self.stop()
        process = self._process or self._start()
        self._done += 1
        deadline = time.monotonic() + seconds
        # A child that hangs while it is fed would block the write, so that the write has a thread of its own.
        feeder = threading.Thread(target=_feed, args=(process, data), daemon=True)
        feeder.start()
        frame = _read_frame(process, deadline)
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
        except (_DiedError, _TimeoutError):
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
        raise _DiedError
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
            raise _TimeoutError
        piece = os.read(file, min(left, MIB))
        if not piece:
            raise _DiedError
        parts.append(piece)
        left -= len(piece)
    return b"".join(parts)
