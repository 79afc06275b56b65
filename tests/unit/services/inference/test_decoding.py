"""Decoding processes: the same pixels as in training, and a process that dies costs one image."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimic.errors import DeadlineError, UnreadableImageError
from aimic.nets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, to_pixels
from services.inference.deadline import Deadline
from services.inference.decode_worker import answer
from services.inference.decoding import Decoders
from services.inference.frames import PIXELS, REFUSED

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]
PREPROCESSING = Preprocessing(image_size=64, mean=IMAGENET_MEAN, std=IMAGENET_STD)


@pytest.fixture
async def decoders() -> AsyncIterator[Decoders]:
    decoders = Decoders(1, 20)
    await decoders.start()
    yield decoders
    await decoders.close()


def pid(decoders: Decoders) -> int:
    (process,) = decoders._all
    return process.pid


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
async def test_pixels_are_those_of_training(decoders: Decoders, picture: Picture, kind: str) -> None:
    data = picture(3, 100, kind)
    pixels = await decoders.decode(data, PREPROCESSING, Deadline.after(20))
    assert np.array_equal(pixels, to_pixels(data, PREPROCESSING))


async def test_a_process_that_dies_is_replaced_and_the_image_gets_a_second_one(
    decoders: Decoders, picture: Picture
) -> None:
    await decoders.decode(picture(1), PREPROCESSING, Deadline.after(20))
    victim = pid(decoders)
    os.kill(victim, signal.SIGSTOP)  # so that it surely holds the question when it dies
    task = asyncio.create_task(decoders.decode(picture(1), PREPROCESSING, Deadline.after(20)))
    await asyncio.sleep(0.05)
    os.kill(victim, signal.SIGKILL)
    assert np.array_equal(await task, to_pixels(picture(1), PREPROCESSING))
    assert pid(decoders) != victim


async def test_a_machine_that_has_no_process_to_give_is_asked_again(
    decoders: Decoders, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await decoders.decode(picture(1), PREPROCESSING, Deadline.after(20))
    spawn = asyncio.create_subprocess_exec
    refused: list[tuple[str, ...]] = []

    async def scarce(*command: str, **more: Any) -> asyncio.subprocess.Process:
        if len(refused) < 2:
            refused.append(command)
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return await spawn(*command, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", scarce)
    os.kill(pid(decoders), signal.SIGKILL)
    pixels = await decoders.decode(picture(1), PREPROCESSING, Deadline.after(20))
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
    with pytest.raises(DeadlineError):
        await decoders.decode(picture(1), PREPROCESSING, Deadline.after(0.5))
    await until(lambda: decoders._missing)  # its death may be noticed later
    async with asyncio.timeout(5):
        await decoders.close()


async def test_an_image_that_kills_every_process_is_refused(picture: Picture) -> None:
    deadly = Decoders(1, 20, (sys.executable, "-c", "import os; os.read(0, 9); os.abort()"))
    await deadly.start()
    try:
        with pytest.raises(UnreadableImageError, match="crashes"):
            await deadly.decode(picture(1), PREPROCESSING, Deadline.after(20))
    finally:
        await deadly.close()


async def test_an_image_that_takes_too_long_is_given_up(picture: Picture) -> None:
    decoders = Decoders(1, 0.2)
    await decoders.start()
    try:
        victim = pid(decoders)
        os.kill(victim, signal.SIGSTOP)
        with pytest.raises(UnreadableImageError, match="longer than"):
            await decoders.decode(picture(1), PREPROCESSING, Deadline.after(20))
        assert pid(decoders) != victim
    finally:
        await decoders.close()


async def test_a_caller_who_leaves_keeps_the_pipe_in_order(decoders: Decoders, picture: Picture) -> None:
    await decoders.decode(picture(1), PREPROCESSING, Deadline.after(20))
    os.kill(pid(decoders), signal.SIGSTOP)
    with pytest.raises(DeadlineError, match="decoded"):
        await decoders.decode(picture(1), PREPROCESSING, Deadline.after(0.05))
    with pytest.raises(DeadlineError, match="waited"):
        await decoders.decode(picture(1), PREPROCESSING, Deadline.after(0.05))
    os.kill(pid(decoders), signal.SIGCONT)
    pixels = await decoders.decode(picture(2), PREPROCESSING, Deadline.after(20))
    assert np.array_equal(pixels, to_pixels(picture(2), PREPROCESSING))


async def test_credentials_do_not_reach_the_process(monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    monkeypatch.setenv("AIMIC_API_KEY", "secret")
    fresh = Decoders(1, 20)
    await fresh.start()
    await fresh.decode(picture(1), PREPROCESSING, Deadline.after(20))
    environment = Path(f"/proc/{pid(fresh)}/environ").read_bytes()
    await fresh.close()
    assert environment and b"secret" not in environment


async def test_closing_ends_every_process() -> None:
    decoders = Decoders(2, 20)
    await decoders.start()
    pids = [process.pid for process in decoders._all]
    await decoders.close()
    for each in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(each, 0)


def test_the_worker_answers_with_pixels_or_a_reason(picture: Picture) -> None:
    described = PREPROCESSING.model_dump_json().encode()
    kind, pixels = answer(described, picture(1))
    assert (kind, len(pixels)) == (PIXELS, 64 * 64 * 3)
    kind, reason = answer(described, b"%PDF-1.7")
    assert kind == REFUSED and b"PDF" in reason
