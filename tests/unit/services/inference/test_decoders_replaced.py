"""Decoding processes that die are replaced, and nobody is told that a good picture is broken."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from aimic.errors import DeadlineError
from aimic.nets.preprocessing import to_pixels
from services.inference.decoding import Decoders
from services.inference.frames import DROPPED
from tests.unit.services.inference.test_decoding import PREPROCESSING, decode, pid

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]


@pytest.fixture
async def decoders() -> AsyncIterator[Decoders]:
    decoders = Decoders(1, 20)
    await decoders.start()
    yield decoders
    await decoders.close()


async def test_a_machine_that_has_no_process_to_give_is_asked_again(
    decoders: Decoders, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await decode(decoders, picture(1))
    spawn = asyncio.create_subprocess_exec
    refused: list[tuple[str, ...]] = []

    async def scarce(*command: str, **more: Any) -> asyncio.subprocess.Process:
        if len(refused) < 2:
            refused.append(command)
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return await spawn(*command, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", scarce)
    os.kill(pid(decoders), signal.SIGKILL)
    pixels = await decode(decoders, picture(1))
    assert np.array_equal(pixels, to_pixels(picture(1), PREPROCESSING))
    assert len(refused) == 2


async def test_closing_ends_the_search_for_a_process(
    picture: Picture, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoders = Decoders(1, 20)
    await decoders.start()

    async def none(*_: str, **__: Any) -> asyncio.subprocess.Process:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", none)
    os.kill(pid(decoders), signal.SIGKILL)
    with pytest.raises(DeadlineError, match="waited"):
        await decode(decoders, picture(1), 0.5)
    await until(lambda: decoders._missing)  # its death may be noticed later
    async with asyncio.timeout(5):
        await decoders.close()


async def test_a_caller_who_leaves_while_the_process_is_replaced_touches_no_memory_but_its_own(
    decoders: Decoders, picture: Picture, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await decode(decoders, picture(1))
    spawn, fresh, gate = asyncio.create_subprocess_exec, list[int](), asyncio.Event()

    async def slow(*command: str, **more: Any) -> asyncio.subprocess.Process:
        fresh.append(int(command[-1]))
        await gate.wait()
        return await spawn(*command, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    os.kill(pid(decoders), signal.SIGSTOP)  # so that it surely holds the question when it dies
    task = asyncio.create_task(decode(decoders, picture(1)))
    await until(lambda: decoders._running)
    os.kill(pid(decoders), signal.SIGKILL)
    await until(lambda: fresh)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert os.pread(fresh[0], DROPPED.size, 0) == b""
    gate.set()
    assert np.array_equal(await decode(decoders, picture(2)), to_pixels(picture(2), PREPROCESSING))


async def test_processes_that_died_while_they_had_nothing_to_do_cost_no_picture_its_tries(
    picture: Picture, until: Any
) -> None:
    decoders = Decoders(3, 20)
    await decoders.start()
    try:
        dead = list(decoders._all)
        for decoder in dead:
            os.kill(decoder.process.pid, signal.SIGKILL)
        await until(lambda: all(decoder.process.returncode is not None for decoder in dead))
        assert np.array_equal(await decode(decoders, picture(1)), to_pixels(picture(1), PREPROCESSING))
        await until(lambda: len(decoders._all) == 3 and not decoders._all & set(dead))
    finally:
        await decoders.close()
