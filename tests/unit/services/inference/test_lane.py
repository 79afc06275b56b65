"""Turns on the thread of the networks."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.inference.lane import Account, Lane, StuckError, Worker

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    lane = Lane()
    yield lane
    lane.close()


def never() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


async def test_turns_go_to_who_used_least(lane: Lane) -> None:
    heavy, light = Account(), Account()
    order: list[str] = []

    async def turns(name: str, account: Account, cost: float, count: int) -> None:
        for _ in range(count):
            async with lane.turn(account):
                order.append(name)
                await asyncio.sleep(0)
                account.used += cost

    await asyncio.gather(turns("heavy", heavy, 1000.0, 3), turns("light", light, 100.0, 20))
    assert order[:11].count("light") == 10  # one batch of the heavy one for ten of the light one
    assert order.count("heavy") == 3


async def test_rest_is_not_saved_up(lane: Lane) -> None:
    busy, rested = Account(), Account()
    for _ in range(2):
        async with lane.turn(busy):
            busy.used += 1000.0
    async with lane.turn(rested):
        pass
    assert rested.used >= 1000.0


async def test_who_leaves_the_queue_hands_his_turn_on(lane: Lane) -> None:
    entered: list[int] = []

    async def enter(number: int) -> None:
        async with lane.turn(Account()):
            entered.append(number)

    async with lane.turn(Account()):
        waiting = [asyncio.create_task(enter(number)) for number in range(3)]
        await asyncio.sleep(0)
        wanted = lane.wanted
        waiting[0].cancel()
    await asyncio.sleep(0)
    waiting[1].cancel()  # the turn has come to it, and it doesn't know yet
    await asyncio.gather(*waiting, return_exceptions=True)
    assert wanted and entered == [2]
    async with asyncio.timeout(60), lane.turn(Account()):
        entered.append(3)


async def test_results_and_errors_come_back(lane: Lane) -> None:
    assert await lane.run(lambda: threading.current_thread().name, 60, never()) == "network"
    with pytest.raises(ZeroDivisionError):
        await lane.run(lambda: 1 // 0, 60, never())


@pytest.mark.parametrize("reason", ["time", "interrupted"])
async def test_a_call_that_hangs_leaves_its_thread_behind(lane: Lane, reason: str) -> None:
    go = threading.Event()
    first = await lane.run(threading.get_ident, 60, never())
    interrupted = never()
    if reason == "interrupted":
        interrupted.set_result(None)
    with pytest.raises(StuckError):
        await lane.run(lambda: go.wait(60), 0.02 if reason == "time" else 60, interrupted)
    second = await lane.run(threading.get_ident, 60, never())
    go.set()
    assert first != second


async def test_a_late_answer_disturbs_nobody(lane: Lane) -> None:
    go, done = threading.Event(), threading.Event()

    def late() -> Any:
        go.wait(60)
        done.set()
        raise RuntimeError("too late")

    with pytest.raises(StuckError):
        await lane.run(late, 0.02, never())
    go.set()
    await asyncio.to_thread(done.wait, 60)
    assert await lane.run(lambda: 1, 60, never()) == 1


async def test_a_retired_worker_ends_after_its_calls() -> None:
    worker = Worker("test-worker")
    future = worker.run(threading.current_thread)
    worker.retire()
    thread = await future
    await asyncio.to_thread(thread.join, 60)
    assert not thread.is_alive() and thread.daemon
