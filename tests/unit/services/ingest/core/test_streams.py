"""Event streams are bounded, and wait for records that are away."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from aimic.errors import UnavailableError
from services.ingest import progress
from services.ingest.progress import Batch, Signals, sse, stream


def _texts(poll: Callable[[int], Batch], signals: Signals) -> list[str]:
    async def read() -> list[str]:
        response = stream(poll, 0, signals, "job")
        async with asyncio.timeout(5):
            return [str(event.data) async for event in response.body_iterator]  # type: ignore[union-attr] # events

    return asyncio.run(read())


def test_a_stream_waits_for_records_that_are_away_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "AWAY_PAUSE_S", 0.01)
    asked: list[int] = []

    def poll(after: int) -> Batch:
        asked.append(after)
        if len(asked) in {1, 2, 4}:
            raise UnavailableError("The records are away.")
        return Batch([sse("status", f"n{after + 1}")], after + 1, after == 1)

    assert _texts(poll, Signals()) == ["n1", "n2"]
    assert asked == [0, 0, 0, 1, 1]


def test_a_stream_ends_when_they_stay_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "AWAY_PAUSE_S", 0.01)
    monkeypatch.setattr(progress, "AWAY_S", 0.05)

    def poll(_: int) -> Batch:
        raise UnavailableError("The records are away.")

    assert _texts(poll, Signals()) == []


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MOST_STREAMS", 2)
    signals = Signals()

    async def two_and_one_more() -> None:
        with signals.listen("a"), signals.listen("a"), pytest.raises(UnavailableError, match="Too many") as refused:
            stream(lambda _: Batch([], 0, True), 0, signals, "b")
        assert refused.value.retry_after_s
        stream(lambda _: Batch([], 0, True), 0, signals, "b")

    asyncio.run(two_and_one_more())


def test_the_handler_of_sigterm_may_come_while_its_own_thread_holds_the_lock() -> None:
    signals = Signals()

    def interrupted() -> None:
        with signals._lock:
            signals.stop()

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive() and signals.stopping.is_set()
