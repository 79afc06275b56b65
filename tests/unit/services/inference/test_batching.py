"""The queue of one model."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from aimic.errors import DeadlineError, NotFoundError, UnavailableError
from services.inference.batching import Batcher
from services.inference.deadline import Deadline
from services.inference.jobs import Computed, Job
from services.inference.lane import Lane

pytestmark = pytest.mark.anyio


class Sums:
    """A network of our own: an image's logits are its sum; it can be held, and it can fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.patience: list[float] = []
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def __call__(self, pixels: NDArray[np.uint8], patience_s: float) -> NDArray[np.float32]:
        self.batches.append([int(image[0, 0, 0]) for image in pixels])
        self.patience.append(patience_s)
        self.go.wait(20)
        if self.error:
            raise self.error
        logits: NDArray[np.float32] = pixels.reshape(len(pixels), -1).sum(axis=1, keepdims=True).astype(np.float32)
        return logits

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


class Noted:
    """A watch that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def worked(self) -> None:
        self.heard.append("worked")

    def failed(self, error: Exception) -> None:
        self.heard.append("failed")

    def stuck(self) -> None:
        self.heard.append("stuck")


@pytest.fixture
def sums() -> Iterator[Sums]:
    sums = Sums()
    yield sums
    sums.go.set()


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
async def batcher(sums: Sums, noted: Noted) -> AsyncIterator[Batcher]:
    lane = Lane()
    # A window that nobody sees the end of: what depends on the time that passes here is told so.
    batcher = Batcher("ab" * 32, sums, lane, noted, limit=4, window_s=3600)
    yield batcher
    sums.go.set()
    await batcher.close()
    lane.close()


def image(value: int) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), value, np.uint8)


async def ask(batcher: Batcher, *values: int, seconds: float = 6000) -> list[Computed]:
    """One request for these images, all decoded already."""
    with batcher.job(len(values), Deadline.after(seconds)) as job:
        for index, value in enumerate(values):
            batcher.submit(job, index, image(value))
        results = await job.results()
    return [results[index] for index in range(len(values))]


def logit(computed: Computed) -> float:
    return float(computed.logits[0])


async def held(sums: Sums) -> None:
    """Until the network has a batch."""
    while not sums.batches:
        await asyncio.sleep(0.005)


async def test_each_image_gets_its_own_row_and_batches_stay_within_the_limit(batcher: Batcher, sums: Sums) -> None:
    results = await ask(batcher, *range(10))
    assert [logit(result) for result in results] == [12.0 * value for value in range(10)]
    assert sums.sizes == [4, 4, 2]
    assert [result.batch for result in results] == [4] * 8 + [2] * 2


async def test_requests_share_a_batch(batcher: Batcher, sums: Sums) -> None:
    results = await asyncio.gather(*(ask(batcher, value) for value in range(4)))
    assert [logit(result) for (result,) in results] == [0, 12, 24, 36]
    assert sums.sizes == [4]


async def test_a_lone_image_does_not_wait_for_others(batcher: Batcher) -> None:
    async with asyncio.timeout(60):
        await ask(batcher, 1)


async def test_it_waits_for_images_on_their_way(batcher: Batcher, sums: Sums) -> None:
    with batcher.job(2, Deadline.after(6000)) as job:
        batcher.submit(job, 0, image(1))
        await asyncio.sleep(0.02)
        batcher.submit(job, 1, image(2))
        await job.results()
    assert sums.sizes == [2]


async def test_it_does_not_wait_for_one_that_turned_out_to_be_none(batcher: Batcher) -> None:
    with batcher.job(2, Deadline.after(6000)) as job:
        batcher.submit(job, 0, image(1))
        batcher.submit(job, 1, None)
        async with asyncio.timeout(60):
            assert list(await job.results()) == [0]


async def test_it_does_not_wait_longer_than_the_window(batcher: Batcher, sums: Sums) -> None:
    batcher._window_s = 0.02
    with batcher.job(1, Deadline.after(6000)):  # never comes
        async with asyncio.timeout(60):
            await ask(batcher, 1)
    assert sums.sizes == [1]


async def test_it_never_waits_past_the_moment_when_it_must_begin(batcher: Batcher) -> None:
    batcher.pace.learn(2, 40.0)
    with batcher.job(1, Deadline.after(6000)):  # never comes
        (computed,) = await ask(batcher, 1, seconds=61)  # two may take 60 s
    assert computed.queue_s < 60


async def test_a_batch_is_no_larger_than_the_deadlines_in_it_allow(batcher: Batcher, sums: Sums) -> None:
    for size in (1, 2, 4):
        batcher.pace.learn(size, 400.0 * size)
    sums.go.clear()
    first = asyncio.create_task(ask(batcher, 0, seconds=60_000))
    await held(sums)
    hasty = asyncio.create_task(ask(batcher, 1, seconds=1500))  # two take 800 s, four 1600
    others = asyncio.create_task(ask(batcher, 2, 3, 4, seconds=60_000))
    await asyncio.sleep(0.01)
    sums.go.set()
    await asyncio.gather(first, hasty, others)
    assert sums.batches == [[0], [1, 2], [3, 4]]


async def test_who_is_lost_anyway_does_not_make_batches_small(batcher: Batcher, sums: Sums) -> None:
    for size in (1, 2, 4):
        batcher.pace.learn(size, 100.0 * size)
    await asyncio.gather(ask(batcher, 1, 2, 3, seconds=6000), ask(batcher, 4, seconds=100))
    assert sums.sizes == [4]


async def test_while_the_network_works_the_next_batch_grows(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    tasks = [asyncio.create_task(ask(batcher, 0))]
    await held(sums)
    tasks += [asyncio.create_task(ask(batcher, value)) for value in (1, 2, 3)]
    await asyncio.sleep(0.01)
    sums.go.set()
    await asyncio.gather(*tasks)
    assert sums.sizes == [1, 3]


async def test_a_large_request_does_not_hold_up_a_small_one(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    large = asyncio.create_task(ask(batcher, *range(20)))
    await held(sums)
    small = asyncio.create_task(ask(batcher, 99))
    await asyncio.sleep(0.01)
    sums.go.set()
    await small
    await large
    assert sums.batches[0] == [0, 1, 2, 3] and 99 in sums.batches[1]


async def test_images_whose_time_is_over_never_reach_the_network(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    first = asyncio.create_task(ask(batcher, 0))
    await held(sums)
    with pytest.raises(DeadlineError):
        await ask(batcher, 1, seconds=0.05)
    sums.go.set()
    await first
    await ask(batcher, 2)
    assert sums.batches == [[0], [2]]


async def test_images_of_callers_who_left_never_reach_the_network(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    first = asyncio.create_task(ask(batcher, 0))
    await held(sums)
    gone = asyncio.create_task(ask(batcher, *range(1, 9)))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    sums.go.set()
    await first
    await ask(batcher, 9)
    assert sums.batches == [[0], [9]]


async def test_the_network_is_told_how_long_its_callers_wait(batcher: Batcher, sums: Sums) -> None:
    await asyncio.gather(ask(batcher, 1, seconds=50), ask(batcher, 2, seconds=200))
    assert 150 < sums.patience[0] <= 200


async def test_a_failed_batch_tells_every_caller_and_the_next_one_works(
    batcher: Batcher, sums: Sums, noted: Noted
) -> None:
    for error, told in ((RuntimeError("broken"), UnavailableError), (NotFoundError("gone"), NotFoundError)):
        sums.error = error
        outcomes = await asyncio.gather(*(ask(batcher, v) for v in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [told] * 3
    sums.error = None
    assert logit((await ask(batcher, 1))[0]) == 12.0
    assert noted.heard == ["failed", "worked"]


async def test_too_few_rows_are_a_failure_and_not_the_end(batcher: Batcher, noted: Noted) -> None:
    run, batcher._run = batcher._run, lambda pixels, _: np.zeros((len(pixels) - 1, 1), np.float32)
    with pytest.raises(UnavailableError):
        await ask(batcher, 1, 2)
    batcher._run = run
    await ask(batcher, 1)
    assert noted.heard == ["failed", "worked"]


async def test_a_call_that_does_not_come_back_is_given_up_at_its_deadline(
    batcher: Batcher, sums: Sums, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.inference.batching._GRACE_S", 0.05)
    sums.go.clear()
    while "stuck" not in noted.heard:
        with pytest.raises(DeadlineError):
            await ask(batcher, 1, seconds=0.1)
    never, sums.go = sums.go, threading.Event()
    sums.go.set()
    assert logit((await ask(batcher, 2))[0]) == 24  # on another thread
    assert set(noted.heard[:-1]) == {"stuck"} and noted.heard[-1] == "worked"
    never.set()


async def test_an_interruption_answers_those_whose_batch_runs_and_those_who_wait(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    tasks = [asyncio.create_task(ask(batcher, value)) for value in range(6)]
    await held(sums)
    batcher.interrupt(UnavailableError("It is fenced."))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["It is fenced."] * 6
    never, sums.go = sums.go, threading.Event()
    sums.go.set()
    assert logit((await ask(batcher, 2))[0]) == 24
    never.set()


async def test_closing_answers_what_waits(batcher: Batcher, sums: Sums) -> None:
    sums.go.clear()
    tasks = [asyncio.create_task(ask(batcher, value)) for value in range(6)]
    await held(sums)
    await batcher.close()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 6
    with pytest.raises(UnavailableError):
        await ask(batcher, 1)


async def test_a_job_that_failed_takes_no_more_images() -> None:
    job = Job(2, Deadline.after(20))
    job.failed(UnavailableError("away"))
    assert job.over
    with pytest.raises(UnavailableError):
        await job.results()
    job.end()
