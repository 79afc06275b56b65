"""The queue of one model."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from aimic.errors import DeadlineError, NotFoundError, UnavailableError
from services.inference.batching import Batcher, Computed, Lane
from services.inference.deadline import Deadline

pytestmark = pytest.mark.anyio
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Sums:
    """A network of our own: an image's logits are its sum; it can be held, and it can fail."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(pixels))
        self.go.wait(10)
        if self.error:
            raise self.error
        logits: NDArray[np.float32] = pixels.reshape(len(pixels), -1).sum(axis=1, keepdims=True).astype(np.float32)
        return logits


@pytest.fixture
def sums() -> Sums:
    return Sums()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
async def batcher(sums: Sums, executor: ThreadPoolExecutor) -> AsyncIterator[Batcher]:
    batcher = Batcher("ab" * 32, sums, Lane(executor), limit=4, window_s=0.5)
    yield batcher
    sums.go.set()
    await batcher.close()


@pytest.fixture
async def patient(sums: Sums, executor: ThreadPoolExecutor) -> AsyncIterator[Batcher]:
    """One whose window no pause of a busy machine outlasts."""
    batcher = Batcher("ab" * 32, sums, Lane(executor), limit=4, window_s=60)
    yield batcher
    await batcher.close()


def image(value: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), value, np.uint8)


async def submit(batcher: Batcher, value: int, seconds: float = 30) -> Computed:
    return await batcher.submit(image(value), Deadline.after(seconds))


async def test_each_image_gets_its_own_row_and_batches_stay_within_the_limit(batcher: Batcher, sums: Sums) -> None:
    results = await asyncio.gather(*(submit(batcher, value) for value in range(10)))
    assert [float(result.logits[0]) for result in results] == [12.0 * value for value in range(10)]
    assert sums.batches == [4, 4, 2]
    assert [result.batch for result in results] == [4] * 8 + [2] * 2


async def test_a_lone_image_does_not_wait_for_others(patient: Batcher) -> None:
    async with asyncio.timeout(30):  # half the window
        await submit(patient, 1)


async def test_it_waits_a_moment_for_images_on_their_way(patient: Batcher, sums: Sums) -> None:
    with patient.expecting(2) as arrived:

        async def decoded(value: int) -> None:
            arrived()
            await submit(patient, value)

        first = asyncio.create_task(decoded(1))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, decoded(2))
    assert sums.batches == [2]


async def test_it_does_not_wait_longer_than_the_window(batcher: Batcher, sums: Sums) -> None:
    with batcher.expecting(1):
        async with asyncio.timeout(20):
            await submit(batcher, 1, seconds=20)
    assert sums.batches == [1]


async def test_while_the_network_works_the_next_batch_grows(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    tasks = [asyncio.create_task(submit(batcher, 0))]
    while not sums.batches:
        await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(submit(batcher, value)) for value in (1, 2, 3)]
    await asyncio.sleep(0.05)
    sums.go.set()
    await asyncio.gather(*tasks)
    assert sums.batches == [1, 3]


async def test_images_whose_time_is_over_never_reach_the_network(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    first = asyncio.create_task(submit(batcher, 0))
    while not sums.batches:
        await asyncio.sleep(0.01)
    with pytest.raises(DeadlineError):
        await submit(batcher, 1, seconds=0.05)
    sums.go.set()
    await first
    await submit(batcher, 2)
    assert sums.batches == [1, 1]


async def test_a_failed_batch_tells_every_caller_and_the_next_one_works(batcher: Batcher, sums: Sums) -> None:
    for error, told in ((RuntimeError("broken"), UnavailableError), (NotFoundError("gone"), NotFoundError)):
        sums.error = error
        outcomes = await asyncio.gather(*(submit(batcher, v) for v in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [told] * 3
    sums.error = None
    assert float((await submit(batcher, 1)).logits[0]) == 12.0


async def test_closing_answers_what_waits(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    tasks = [asyncio.create_task(submit(batcher, value)) for value in range(6)]
    while not sums.batches:
        await asyncio.sleep(0.01)
    closing = asyncio.create_task(batcher.close())
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 6
    sums.go.set()
    await closing
    with pytest.raises(UnavailableError):
        await submit(batcher, 1)
