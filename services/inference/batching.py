"""Batches across requests: images of one model that wait at the same time share one run of the network."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aimic.errors import AimicError, UnavailableError
from services.inference.deadline import Deadline
from services.inference.metrics import BATCH_IMAGES

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Computed:
    """What the network said of one image, and how long that took."""

    logits: NDArray[np.float32]
    queue_s: float
    compute_s: float
    """Seconds of the whole batch."""
    batch: int
    """Images in it."""


@dataclass(slots=True, eq=False)
class Waiting:
    """An image in the queue. When its future is done (its caller left), it costs nothing more."""

    pixels: NDArray[np.uint8]
    deadline: Deadline
    future: asyncio.Future[Computed]
    since: float = field(default_factory=time.monotonic)


class Lane:
    """The threads on which networks run, apart from the event loop; all batchers take turns on it."""

    def __init__(self, executor: Executor, width: int = 1) -> None:
        self.executor = executor
        self.turn = asyncio.Semaphore(width)


class Batcher:
    """The queue of one model. A batch is put together only when the lane is free, so that it grows under load."""

    def __init__(
        self,
        bundle_hash: str,
        run: Callable[[NDArray[np.uint8], float], NDArray[np.float32]],
        lane: Lane,
        limit: int,
        window_s: float,
    ) -> None:
        self._bundle = bundle_hash[:12]
        self._run = run
        self._lane = lane
        self._limit = limit
        self._window_s = window_s
        self._queue: deque[Waiting] = deque()
        self._coming = 0
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._work(), name=f"batcher {self._bundle}")

    @contextmanager
    def expecting(self, images: int) -> Iterator[Callable[[], None]]:
        """That many images are being decoded for this queue; call what is given as each arrives or fails."""
        left = images
        self._coming += images

        def arrived() -> None:
            nonlocal left
            left -= 1
            self._coming -= 1
            self._changed.set()

        try:
            yield arrived
        finally:
            self._coming -= left
            self._changed.set()

    async def submit(self, pixels: NDArray[np.uint8], deadline: Deadline) -> Computed:
        """Logits [classes] of one image uint8 [height, width, 3]; DeadlineError when time runs out before."""
        if self._task.done():
            raise UnavailableError("This model was just unloaded; ask again.", retry_after_s=1)
        waiting = Waiting(pixels, deadline, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._changed.set()
        async with deadline.during("the image waited for the network"):
            return await waiting.future

    async def close(self) -> None:
        """Stop; what still waits is told that the model went."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._queue:
            fail(self._queue, UnavailableError("This model was just unloaded; ask again.", retry_after_s=1))
        self._queue.clear()

    async def _work(self) -> None:
        while True:
            while not self._queue:
                self._changed.clear()
                await self._changed.wait()
            await self._linger()
            async with self._lane.turn:
                batch = self._take()
                if batch:
                    await self._compute(batch)

    async def _linger(self) -> None:
        """Wait a moment for images that are already on their way, and for no others."""
        end = time.monotonic() + self._window_s
        while self._coming > 0 and len(self._queue) < self._limit and time.monotonic() < end:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _take(self) -> list[Waiting]:
        """The next images whose callers still wait for them."""
        batch: list[Waiting] = []
        while self._queue and len(batch) < self._limit:
            waiting = self._queue.popleft()
            if not waiting.future.done() and waiting.deadline.remaining() > 0:
                batch.append(waiting)
        return batch

    async def _compute(self, batch: list[Waiting]) -> None:
        BATCH_IMAGES.labels(self._bundle).observe(len(batch))
        started = time.monotonic()
        pixels = np.stack([waiting.pixels for waiting in batch])
        patience = max(waiting.deadline.remaining() for waiting in batch)
        work = asyncio.get_running_loop().run_in_executor(self._lane.executor, self._run, pixels, patience)
        try:
            logits = await work
        except BaseException as error:
            fail(batch, error)
            if not isinstance(error, Exception):
                raise
            return
        took = time.monotonic() - started
        for waiting, row in zip(batch, logits, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(Computed(row, started - waiting.since, took, len(batch)))


def fail(images: Iterable[Waiting], error: BaseException) -> None:
    """Tell every caller that still waits. Our own errors speak for themselves; the rest means: not now."""
    logger.warning("a batch failed", extra={"cause": repr(error)})
    for waiting in images:
        if not waiting.future.done():
            known = error if isinstance(error, AimicError) else _away()
            waiting.future.set_exception(known)


def _away() -> UnavailableError:
    return UnavailableError("The network could not be run on this image; ask again.", retry_after_s=1)
