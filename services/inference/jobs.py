"""The images of one request on their way through a model's queue."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.inference.deadline import Deadline

Pixels = NDArray[np.uint8]


@dataclass(slots=True, eq=False)
class Computed:
    """What the network said of one image, and how long that took."""

    logits: NDArray[np.float32]
    queue_s: float
    compute_s: float
    """Seconds of the whole batch."""
    batch: int
    """Images in it."""


class Job:
    """Its images arrive one by one, and are computed in whatever batches. When it is over, it costs nothing more."""

    def __init__(self, images: int, deadline: Deadline) -> None:
        self.deadline = deadline
        self.coming = images
        """Images that are not decoded yet."""
        self.ready: deque[tuple[int, Pixels, float]] = deque()
        """Index, pixels, and since when it waits."""
        self._left = images
        self._results: dict[int, Computed] = {}
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def over(self) -> bool:
        """Every image has its result, or the caller left, or it failed."""
        return self._finished.done()

    def arrived(self, index: int, pixels: Pixels) -> None:
        """Image `index` is decoded."""
        self.coming -= 1
        self.ready.append((index, pixels, time.monotonic()))

    def refused(self) -> None:
        """One image turned out to be none, and is not waited for."""
        self.coming -= 1
        self._one_less()

    def computed(self, index: int, result: Computed) -> None:
        """The network has spoken of image `index`."""
        if not self.over:
            self._results[index] = result
            self._one_less()

    def failed(self, error: Exception) -> None:
        """No image of it will be computed any more."""
        if not self.over:
            self._finished.set_exception(error)

    async def results(self) -> dict[int, Computed]:
        """By index, once all are there; what the job failed with otherwise."""
        async with self.deadline.during("the image waited for the network"):
            await self._finished
        return self._results

    def end(self) -> None:
        """Nobody wants it any more."""
        self._finished.cancel()
        if not self._finished.cancelled():
            self._finished.exception()  # seen, so that nobody logs it as forgotten
        self.coming = 0
        self.ready.clear()

    def _one_less(self) -> None:
        self._left -= 1
        if self._left == 0 and not self.over:
            self._finished.set_result(None)


class Ring:
    """Jobs with images that wait. Each in its turn gives one image: a large request doesn't hold up a small one."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()

    def add(self, job: Job) -> None:
        """This job has images now, or has them still."""
        if job not in self._jobs:
            self._jobs.append(job)

    def __len__(self) -> int:
        """Images that wait."""
        return sum(len(job.ready) for job in self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    def take(self, most: int) -> list[tuple[Job, int, Pixels, float]]:
        """Up to `most` images, in turns, of jobs that still want them."""
        taken: list[tuple[Job, int, Pixels, float]] = []
        while self._jobs and len(taken) < most:
            job = self._jobs.popleft()
            if job.over or job.deadline.remaining() <= 0:
                continue
            taken.append((job, *job.ready.popleft()))
            if job.ready:
                self._jobs.append(job)
        return taken

    def clear(self) -> tuple[Job, ...]:
        """Forget all of them."""
        jobs = tuple(self._jobs)
        self._jobs.clear()
        return jobs


def fail(jobs: Iterable[Job], error: Exception) -> None:
    """Tell every caller that still waits."""
    for job in jobs:
        job.failed(error)
