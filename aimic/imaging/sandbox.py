"""Files from outside are decoded in processes that may die: by a bomb, a crash in a codec, or an endless loop.

The parent never decodes. Children are started by `python -m`, not forked, with an empty environment, bounded
memory and processor time; they get bytes and give back plain frames (no pickle).
"""

import logging
import queue
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

from aimic.errors import UnavailableError, UnreadableImageError
from aimic.imaging.children import Child, DiedError, TooSlowError
from aimic.imaging.examine import Examined
from aimic.imaging.frames import unpacked
from aimic.imaging.limits import DEFAULT_LIMITS, MIB, Limits, check_bytes, seconds_allowed

__all__ = ["Examined", "Sandbox"]

logger = logging.getLogger(__name__)

K = TypeVar("K")

_TOO_SLOW = "Reading the picture took more than {seconds:.3g} s, so it was stopped. The file may be damaged."
_CRASHED = "Reading the picture made the image library crash, so it was left out. The file is probably damaged."


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
        self._children: queue.SimpleQueue[Child] = queue.SimpleQueue()
        self._all = [Child(limits, seconds, memory) for _ in range(processes)]
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
            if self._closed:
                # It may have been started anew in the moment of closing.
                child.stop()
            self._children.put(child)

    def _examined(self, child: Child, data: bytes) -> Examined:
        for _ in range(2):
            if self._closed:
                raise UnavailableError("Reading images was stopped; this one was not read.")
            try:
                return unpacked(child.ask(data, seconds_allowed(self.seconds, len(data))), data)
            except UnreadableImageError:
                raise
            except TooSlowError:
                raise UnreadableImageError(_TOO_SLOW.format(seconds=seconds_allowed(self.seconds, len(data)))) from None
            except (DiedError, ValueError, KeyError, TypeError):
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
