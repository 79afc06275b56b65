"""Batches across requests: images of one model that wait at the same time share one run of the network."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aimic.errors import AimicError, UnavailableError
from services.inference.deadline import Deadline
from services.inference.jobs import Computed, Job, Pixels, Ring, fail
from services.inference.lane import Account, Lane, StuckError
from services.inference.metrics import BATCH_IMAGES
from services.inference.pace import Pace

logger = logging.getLogger(__name__)

_GRACE_S = 1.0
"""After the last deadline of a batch: a predictor that keeps its promise has said by then that it was too slow."""
_MARGIN = 1.5
"""By how much a batch may take longer than batches of its size did."""
_LONGEST_TURN_S = 0.25
"""A batch is made no longer than this while other models wait."""
_LONGEST_WINDOW_S = 0.02
Run = Callable[[NDArray[np.uint8], float], NDArray[np.float32]]


class Watch(Protocol):
    """Who wants to know how a model's batches end."""

    def worked(self) -> None:
        """A batch was answered."""

    def failed(self, error: Exception) -> None:
        """What runs the network is away, or broke."""

    def stuck(self) -> None:
        """A call did not come back by the deadline of all who waited for it."""


class Batcher:
    """The queue of one model. A batch is put together only when the lane is free, so that it grows under load."""

    def __init__(self, bundle_hash: str, run: Run, lane: Lane, watch: Watch, *, limit: int, window_s: float) -> None:
        self.pace = Pace()
        self._bundle = bundle_hash[:12]
        self._run = run
        self._lane = lane
        self._watch = watch
        self._limit = limit
        self._window_s = window_s
        self._account = Account()
        self._ring = Ring()
        self._jobs: set[Job] = set()
        self._changed = asyncio.Event()
        self._interrupted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._work(), name=f"batcher {self._bundle}")

    @contextmanager
    def job(self, images: int, deadline: Deadline) -> Iterator[Job]:
        """A request for `images`, which are decoded now; give them to `submit`. It ends with the block."""
        if self._task.done():
            raise _unloaded()
        job = Job(images, deadline)
        self._jobs.add(job)
        try:
            yield job
        finally:
            self._jobs.discard(job)
            job.end()
            self._changed.set()

    def submit(self, job: Job, index: int, pixels: Pixels | None) -> None:
        """Image `index` of the job is here, uint8 [height, width, 3]; None: it is none, and won't come."""
        if job.over:
            return
        if pixels is None:
            job.refused()
        else:
            job.arrived(index, pixels)
            self._ring.add(job)
        self._changed.set()

    def interrupt(self, error: AimicError) -> None:
        """Every caller gets `error` now, those of the batch that runs too."""
        fail(tuple(self._jobs), error)
        self._ring.clear()
        if not self._interrupted.done():
            self._interrupted.set_result(None)

    async def close(self) -> None:
        """Stop; what still waits is told that the model went."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        fail(tuple(self._jobs), _unloaded())
        self._ring.clear()

    async def _work(self) -> None:
        while True:
            while not len(self._ring):
                self._changed.clear()
                await self._changed.wait()
            await self._linger()
            async with self._lane.turn(self._account):
                batch = self._ring.take(self._size())
                if batch:
                    await self._compute(batch)

    async def _linger(self) -> None:
        """Wait a moment for images that are already on their way, and for no others."""
        # Half of what a batch for one image would cost is well spent on having one batch less.
        end = time.monotonic() + max(self._window_s, min(_LONGEST_WINDOW_S, self.pace.expected(1) / 2))
        while self._coming() and len(self._ring) < self._limit:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(min(end, self._latest_start())):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _coming(self) -> int:
        return sum(job.coming for job in self._jobs if not job.over)

    def _latest_start(self) -> float:
        """When the batch must begin, though it could grow, so that no caller's deadline is missed for that."""
        images = min(self._limit, len(self._ring) + self._coming())
        needed = _MARGIN * self.pace.expected(images)
        return min((job.deadline.at for job in self._ring if not job.over), default=0.0) - needed

    def _size(self) -> int:
        """How many images the next batch may have: all that can be answered in time, and a fair turn."""
        limit = min(self._limit, max(1, len(self._ring)))
        alone = _MARGIN * self.pace.expected(1)
        waits = [job.deadline.remaining() for job in self._ring if not job.over]
        # Whose time is too short even for a batch of one doesn't make the others' batch small.
        shortest = min((wait for wait in waits if wait > alone), default=float("inf"))
        if self._lane.wanted:
            shortest = min(shortest, _LONGEST_TURN_S * _MARGIN)
        return self.pace.most(shortest / _MARGIN, limit)

    async def _compute(self, batch: list[tuple[Job, int, Pixels, float]]) -> None:
        BATCH_IMAGES.labels(self._bundle).observe(len(batch))
        started = time.monotonic()
        pixels = np.stack([pixels for _, _, pixels, _ in batch])
        patience_s = max(job.deadline.remaining() for job, _, _, _ in batch)
        work = partial(self._run, pixels, patience_s)
        if self._interrupted.done():
            self._interrupted = asyncio.get_running_loop().create_future()
        try:
            logits = await self._lane.run(work, patience_s + _GRACE_S, self._interrupted)
            if len(logits) != len(batch):
                raise ValueError(f"{len(logits)} rows of logits for {len(batch)} images")
        except Exception as error:
            self._failed({job for job, _, _, _ in batch}, error)
            return
        except asyncio.CancelledError:
            fail((job for job, _, _, _ in batch), _unloaded())
            raise
        took = time.monotonic() - started
        self.pace.learn(len(batch), took)
        self._watch.worked()
        for (job, index, _, since), row in zip(batch, logits, strict=True):
            job.computed(index, Computed(row, started - since, took, len(batch)))

    def _failed(self, jobs: set[Job], error: Exception) -> None:
        """Our own errors speak for themselves; the rest means: not now."""
        logger.warning("a batch failed", extra={"cause": repr(error)})
        fail(jobs, error if isinstance(error, AimicError) else _away())
        if isinstance(error, StuckError):
            self._watch.stuck()
        elif isinstance(error, UnavailableError) or not isinstance(error, AimicError):
            self._watch.failed(error)


def _unloaded() -> UnavailableError:
    return UnavailableError("This model was just unloaded; ask again.", retry_after_s=1)


def _away() -> UnavailableError:
    return UnavailableError("The network could not be run on this image; ask again.", retry_after_s=1)
