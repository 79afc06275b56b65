"""Very many images: several requests under way, answers in order, and one version for all of them."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

from aimic.client.predict_images import Item, answered, batches, unanswered
from aimic.client.predict_tries import COST_THEIR_BATCH, Allowance, NotAnsweredError, Tries, passing
from aimic.client.retry import Retry
from aimic.domain.prediction import ImageResult, PredictResponse
from aimic.errors import AimicError, DeadlineError, TooLargeError

Ask = Callable[[int | None, Sequence[Item], float], Awaitable[PredictResponse]]
"""One try with a version (None: the one that serves), images and seconds; NotAnsweredError when it fails."""


class Many:
    """One long question. Requests are sent ahead of the reader, and images are read no further ahead than that."""

    def __init__(
        self, ask: Ask, retry: Retry, allowance: Allowance, *, version: int | None = None, in_flight: int = 4
    ) -> None:
        self._ask = ask
        self._retry = retry
        self._allowance = allowance
        self._in_flight = in_flight
        self._gate = _Gate()
        self._answered_at = time.monotonic()
        self.version = version
        """The version that answers; without a wish the one that answered first, whatever is promoted meanwhile."""
        self.request_id: str | None = None
        """Of the request that was answered last; None while none was."""
        self.refused: AimicError | None = None
        """The first error that cost a batch."""

    async def results(self, items: Iterator[Item]) -> AsyncGenerator[ImageResult, None]:
        """A result for each image, in order. `items` is read in threads, one image after the other.

        Images that are not answered have their error in their places. A persistent question ends with the error of a
        service that was too busy, too slow or away for a batch's whole allowance and answered no other meanwhile.
        """
        source = batches(items)
        under_way: deque[asyncio.Task[list[ImageResult]]] = deque()
        try:
            while (batch := await asyncio.to_thread(next, source, None)) is not None:
                under_way.append(asyncio.create_task(self._batch(batch)))
                # Alone, until an answer names the version that all others are asked for.
                while len(under_way) >= (self._in_flight if self.version is not None else 1):
                    for result in await under_way[0]:
                        yield result
                    under_way.popleft()
            while under_way:
                for result in await under_way[0]:
                    yield result
                under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _batch(self, batch: Sequence[Item]) -> list[ImageResult]:
        results = [result for item in batch if item.error for result in unanswered([item], item.error)]
        sendable = [item for item in batch if not item.error]
        if sendable:
            results += await self._sent(sendable)
        return sorted(results, key=lambda result: result.index)

    async def _sent(self, batch: Sequence[Item]) -> list[ImageResult]:
        try:
            response = await self._persistently(batch)
        except AimicError as error:
            if isinstance(error, TooLargeError) and len(batch) > 1:  # this service takes fewer at a time
                half = len(batch) // 2
                return await self._sent(batch[:half]) + await self._sent(batch[half:])
            if self._concerns_all(error):
                raise
            self.refused = self.refused or error
            return unanswered(batch, error)
        self._answered_at = time.monotonic()
        self.version, self.request_id = response.version, response.request_id
        return answered(batch, response)

    def _concerns_all(self, error: AimicError) -> bool:
        """Whether the batches to come would fare no better."""
        if not passing(error):
            return not isinstance(error, COST_THEIR_BATCH)
        silent_s = time.monotonic() - self._answered_at
        # Half of it: this batch has waited for all of it, and may have begun just before the last answer.
        silent = self._allowance.persistent and silent_s > self._allowance.all_s / 2
        return silent and isinstance(error, COST_THEIR_BATCH)

    async def _persistently(self, batch: Sequence[Item]) -> PredictResponse:
        tries = Tries(self._retry, self._allowance)
        while True:
            try:
                return await self._ask(self.version, batch, await self._turn(tries))
            except NotAnsweredError as refused:
                pause = tries.pause_s(refused)
                if pause is None:
                    raise refused.error from None
                self._retry.tell(refused.error, pause)
                self._gate.close(pause, refused.error)

    async def _turn(self, tries: Tries) -> float:
        """Seconds for a try, once it is due; the error that all wait for when there are none left."""
        await self._gate.open()
        try:
            return tries.try_s()
        except DeadlineError as late:
            raise self._gate.because or late from None


class _Gate:
    """Before it all requests wait when one was told to come again later."""

    def __init__(self) -> None:
        self._closed_until = 0.0
        self.because: AimicError | None = None

    def close(self, seconds: float, because: AimicError) -> None:
        self.because = because
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    async def open(self) -> None:
        while (left := self._closed_until - time.monotonic()) > 0:
            await asyncio.sleep(left)
