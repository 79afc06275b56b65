"""Bytes of messages in memory: how many places there are, who waits, and who has to give one up."""

import asyncio

import pytest

from aimic.errors import OverloadedError
from services.inference.grpc import places as module
from services.inference.grpc.places import Caller, Place, Places

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for long."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    monkeypatch.setattr(module, "UPLOAD_S", 0.02)
    monkeypatch.setattr(module, "QUIET_S", 0.02)
    monkeypatch.setattr(module, "LONG_QUIET_S", 0.02)


class Reading:
    """A call that waits for a message which doesn't come."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.task = asyncio.create_task(self._wait())

    async def _wait(self) -> str:
        limit = self.place.limit = asyncio.timeout(None)
        try:
            async with limit:
                await asyncio.sleep(600)
        except TimeoutError:
            self.place.limit = None
            self.place.give_back()
        return "ended"


async def reads(places: Places) -> Reading:
    reading = Reading(await places.take(Caller(), streaming=True))
    await asyncio.sleep(0)
    return reading


async def full(places: Places) -> bool:
    """Whether a call that may wait a moment gets no place."""
    try:
        place = await places.take(Caller(), streaming=False)
    except OverloadedError as error:
        assert error.retry_after_s
        return True
    place.give_back()
    return False


async def test_a_place_is_as_large_as_the_largest_message_until_one_is_here() -> None:
    places = Places(250, 100)
    first, second = [await places.take(Caller(), streaming=False) for _ in range(2)]
    assert await full(places)
    first.arrived(49)  # 49 and 100 and 100
    assert not await full(places)
    second.arrived(100)  # 49 and 100 and 100
    assert not await full(places)
    third = await places.take(Caller(), streaming=False)
    third.arrived(60)
    assert await full(places)
    for place in (first, second, third):
        place.give_back()
    assert places._held == 0


async def test_there_is_always_one_place() -> None:
    places = Places(10, 100)
    place = await places.take(Caller(), streaming=False)
    assert await full(places)
    place.give_back()
    assert not await full(places)


async def test_who_waited_first_comes_first_and_who_left_holds_nothing() -> None:
    places = Places(100, 100)
    place = await places.take(Caller(), streaming=False)
    place.arrived(100)
    waiting = [asyncio.create_task(places.take(Caller(), streaming=True)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait({waiting[0]})
    place.give_back()
    second = await waiting[1]
    assert not waiting[2].done()
    second.give_back()
    waiting[2].cancel()  # at the moment when its turn has come, before it knows
    await asyncio.wait({waiting[2]})
    assert places._held == 0


async def test_a_call_that_sends_nothing_makes_room_for_one_that_will() -> None:
    places = Places(200, 100)
    older = await reads(places)
    newer = await reads(places)
    newer.place.caller.quiet_since += 60
    place = await places.take(Caller(), streaming=True)
    assert await older.task == "ended" and not newer.task.done()
    place.give_back()
    newer.task.cancel()


async def test_nobody_has_to_go_while_nobody_waits() -> None:
    reading = await reads(Places(100, 100))
    await asyncio.sleep(0.05)
    assert not reading.task.done()
    reading.task.cancel()


async def test_a_call_that_waits_for_our_answer_is_not_quiet() -> None:
    places = Places(200, 100)
    reading = await reads(places)
    reading.place.caller.working = 1
    other = await places.take(Caller(), streaming=False)
    assert await full(places) and not reading.task.done()
    reading.task.cancel()
    other.give_back()


async def test_a_call_waits_for_one_stream_at_most_however_many_were_before_it_and_no_stream_for_ever() -> None:
    places = Places(100, 100)
    held = await places.take(Caller(), streaming=True)
    held.arrived(100)
    streams = [asyncio.create_task(places.take(Caller(), streaming=True)) for _ in range(50)]
    await asyncio.sleep(0)
    calls = [asyncio.create_task(places.take(Caller(), streaming=False)) for _ in range(2)]
    await asyncio.sleep(0)
    came = []
    for _ in range(4):
        held.give_back()
        (done, _) = await asyncio.wait({*calls, *streams}, return_when=asyncio.FIRST_COMPLETED)
        (turn,) = done
        came.append("call" if turn in calls else "stream")
        (calls if turn in calls else streams).remove(turn)
        held = turn.result()
        held.arrived(100)
    assert came == ["call", "stream", "call", "stream"]
    for waiting in streams:
        waiting.cancel()
    await asyncio.wait(streams)


async def test_a_large_message_on_its_way_is_not_cut_off_as_soon_as_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "UPLOAD_S", 600.0)
    places = Places(100, 100)
    upload = Reading(await places.take(Caller(), streaming=False))
    assert await full(places) and not upload.task.done()
    upload.task.cancel()


async def test_a_stream_that_was_answered_makes_room_before_an_upload_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UPLOAD_S", 600.0)
    places, caller = Places(200, 100), Caller()
    upload = Reading(await places.take(Caller(), streaming=False))
    answered = await places.take(caller, streaming=True)
    answered.arrived(100)
    answered.give_back()
    quiet = Reading(await places.take(caller, streaming=True))
    await asyncio.sleep(0)
    assert not await full(places) and not upload.task.done()
    assert await quiet.task == "ended"
    upload.task.cancel()
