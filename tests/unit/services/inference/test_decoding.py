"""Decoding processes: the same pixels as in training, and a process that dies costs one image."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aimic.errors import DeadlineError, UnreadableImageError
from aimic.nets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, to_pixels
from services.inference.deadline import Deadline
from services.inference.decode_worker import serve
from services.inference.decoding import Decoders, Outcome
from services.inference.frames import ANSWER, DROPPED, LENGTH, PIXELS, PIXELS_AT, QUESTION, REFUSED

pytestmark = pytest.mark.anyio
Picture = Callable[..., bytes]
PREPROCESSING = Preprocessing(image_size=64, mean=IMAGENET_MEAN, std=IMAGENET_STD)


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Decoders]:
    """For tests that leave the process as it was."""
    decoders = Decoders(1, 60)
    await decoders.start()
    yield decoders
    await decoders.close()


@pytest.fixture
async def decoders() -> AsyncIterator[Decoders]:
    decoders = Decoders(1, 20)
    await decoders.start()
    yield decoders
    await decoders.close()


def pid(decoders: Decoders) -> int:
    (decoder,) = decoders._all
    return decoder.process.pid


def same(outcome: Outcome, image: bytes) -> bool:
    """Whether these are the pixels that training would see."""
    return not isinstance(outcome, UnreadableImageError) and np.array_equal(outcome, to_pixels(image, PREPROCESSING))


async def decode(decoders: Decoders, image: bytes, seconds: float = 60) -> NDArray[np.uint8]:
    """One image's pixels; raises why there are none."""
    (outcome,) = await decoders.decode([image], PREPROCESSING, Deadline.after(seconds))
    if isinstance(outcome, UnreadableImageError):
        raise outcome
    return outcome


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
async def test_pixels_are_those_of_training(shared: Decoders, picture: Picture, kind: str) -> None:
    data = picture(3, 100, kind)
    pixels = await decode(shared, data)
    assert np.array_equal(pixels, to_pixels(data, PREPROCESSING))


async def test_a_process_that_dies_is_replaced_and_the_image_gets_a_second_one(
    decoders: Decoders, picture: Picture
) -> None:
    await decode(decoders, picture(1))
    victim = pid(decoders)
    os.kill(victim, signal.SIGSTOP)  # so that it surely holds the question when it dies
    task = asyncio.create_task(decode(decoders, picture(1)))
    await asyncio.sleep(0.05)
    os.kill(victim, signal.SIGKILL)
    assert np.array_equal(await task, to_pixels(picture(1), PREPROCESSING))
    assert pid(decoders) != victim


async def test_an_image_that_kills_every_process_is_refused(picture: Picture) -> None:
    deadly = Decoders(1, 20, (sys.executable, "-c", "import os; os.read(0, 9); os.abort()"))
    await deadly.start()
    try:
        with pytest.raises(UnreadableImageError, match="crashes"):
            await decode(deadly, picture(1))
    finally:
        await deadly.close()


async def test_an_image_that_takes_too_long_is_given_up(picture: Picture) -> None:
    decoders = Decoders(1, 0.2)
    await decoders.start()
    try:
        victim = pid(decoders)
        os.kill(victim, signal.SIGSTOP)
        with pytest.raises(UnreadableImageError, match="longer than"):
            await decode(decoders, picture(1))
        assert pid(decoders) != victim
    finally:
        await decoders.close()


async def test_a_caller_who_leaves_keeps_the_pipe_in_order(
    decoders: Decoders, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.inference.decoding._DROPPED_S", 3600)
    await decode(decoders, picture(1))
    os.kill(pid(decoders), signal.SIGSTOP)
    with pytest.raises(DeadlineError, match="decoded"):
        await decode(decoders, picture(1), 0.05)
    with pytest.raises(DeadlineError, match="waited"):
        await decode(decoders, picture(1), 0.05)
    os.kill(pid(decoders), signal.SIGCONT)
    pixels = await decode(decoders, picture(2))
    assert np.array_equal(pixels, to_pixels(picture(2), PREPROCESSING))


async def test_credentials_do_not_reach_the_process(monkeypatch: pytest.MonkeyPatch, picture: Picture) -> None:
    monkeypatch.setenv("AIMIC_API_KEY", "secret")
    fresh = Decoders(1, 20)
    await fresh.start()
    await decode(fresh, picture(1))
    environment = Path(f"/proc/{pid(fresh)}/environ").read_bytes()
    await fresh.close()
    assert environment and b"secret" not in environment


async def test_closing_ends_every_process() -> None:
    decoders = Decoders(2, 20)
    await decoders.start()
    pids = [decoder.process.pid for decoder in decoders._all]
    await decoders.close()
    for each in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(each, 0)


async def test_images_of_one_request_come_back_in_order_with_the_bad_in_their_places(
    shared: Decoders, picture: Picture
) -> None:
    images = [picture(0), b"%PDF-1.7", picture(1), picture(2, 64), b""]
    outcomes = await shared.decode(images, PREPROCESSING, Deadline.after(60))
    assert [isinstance(outcome, UnreadableImageError) for outcome in outcomes] == [False, True, False, False, True]
    for index in (0, 2, 3):
        assert same(outcomes[index], images[index])
    assert "PDF" in str(outcomes[1])


async def test_pixels_stay_when_the_process_goes_on_to_others(shared: Decoders, picture: Picture) -> None:
    first = await decode(shared, picture(1))
    await decode(shared, picture(2))
    assert np.array_equal(first, to_pixels(picture(1), PREPROCESSING))


DEADLY_SECOND = """
import os, sys
from services.inference import decode_worker
first = decode_worker.answer
def answer(preprocessing, data):
    if data == b"deadly":
        os.abort()
    return first(preprocessing, data)
decode_worker.answer = answer
decode_worker.main()
"""


async def test_an_image_that_kills_its_process_costs_the_others_of_its_request_nothing(picture: Picture) -> None:
    decoders = Decoders(1, 60, (sys.executable, "-c", DEADLY_SECOND))
    await decoders.start()
    try:
        images = [picture(0), b"deadly", picture(1)]
        outcomes = await decoders.decode(images, PREPROCESSING, Deadline.after(120))
    finally:
        await decoders.close()
    assert isinstance(outcomes[1], UnreadableImageError) and "crashes" in str(outcomes[1])
    for index in (0, 2):
        assert same(outcomes[index], images[index])


LIAR = """
import os, sys
from services.inference.frames import ANSWER
os.read(0, 9)
os.write(1, ANSWER.pack({answer}))
os.read(0, 1 << 20)
os.read(0, 1 << 20)
"""


@pytest.mark.parametrize("answer", ["0, 0", "1, 1 << 31"])
async def test_a_process_that_lies_is_taken_for_a_dead_one(picture: Picture, answer: str) -> None:
    decoders = Decoders(1, 60, (sys.executable, "-c", LIAR.format(answer=answer)))
    await decoders.start()
    try:
        with pytest.raises(UnreadableImageError, match="crashes"):
            await decode(decoders, picture(1))
    finally:
        await decoders.close()


async def test_images_that_nobody_waits_for_are_not_decoded(decoders: Decoders, picture: Picture) -> None:
    await decode(decoders, picture(1))
    os.kill(pid(decoders), signal.SIGSTOP)  # so that it surely looks after the caller has left
    task = asyncio.create_task(decoders.decode([picture(1)] * 3, PREPROCESSING, Deadline.after(60)))
    while not decoders._running:
        await asyncio.sleep(0.005)
    (exchange,) = decoders._running
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    os.kill(pid(decoders), signal.SIGCONT)
    outcomes = await exchange
    # It may have been ended instead, if this machine stood still for a second.
    assert outcomes is None or all("Nobody waits" in str(outcome) for outcome in outcomes)
    assert np.array_equal(await decode(decoders, picture(2)), to_pixels(picture(2), PREPROCESSING))


async def test_a_process_that_goes_on_for_nobody_is_replaced(
    decoders: Decoders, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.inference.decoding._DROPPED_S", 0.05)
    await decode(decoders, picture(1))
    victim = pid(decoders)
    os.kill(victim, signal.SIGSTOP)
    with pytest.raises(DeadlineError, match="decoded"):
        await decode(decoders, picture(1), 0.05)
    assert np.array_equal(await decode(decoders, picture(2)), to_pixels(picture(2), PREPROCESSING))
    assert pid(decoders) != victim


@pytest.mark.parametrize(
    ("images", "size", "share"), [(1, 224, 1), (2, 224, 1), (3, 224, 2), (100, 224, 8), (9, 4096, 1)]
)
def test_a_request_is_shared_out_to_all_processes(images: int, size: int, share: int) -> None:
    preprocessing = PREPROCESSING.model_copy(update={"image_size": size})
    assert Decoders(2, 20).share(images, preprocessing) == share


def asked(numbers: int, *images: bytes) -> io.BytesIO:
    described = PREPROCESSING.model_dump_json().encode()
    lengths = b"".join(LENGTH.pack(len(image)) for image in images)
    return io.BytesIO(QUESTION.pack(numbers, len(described), len(images)) + described + lengths + b"".join(images))


def test_the_worker_answers_with_pixels_or_a_reason(picture: Picture, tmp_path: Path) -> None:
    answers = io.BytesIO()
    with (tmp_path / "memory").open("w+b") as memory:
        serve(asked(1, picture(1), b"%PDF-1.7"), answers, memory.fileno())
        pixels = os.pread(memory.fileno(), 64 * 64 * 3, PIXELS_AT)
    assert pixels == to_pixels(picture(1), PREPROCESSING).tobytes()
    kind, size = ANSWER.unpack_from(answers.getvalue())
    assert (kind, size) == (PIXELS, 0)
    kind, size = ANSWER.unpack_from(answers.getvalue(), ANSWER.size)
    assert kind == REFUSED and b"PDF" in answers.getvalue()[-size:]


def test_the_worker_leaves_what_was_dropped(picture: Picture, tmp_path: Path) -> None:
    answers = io.BytesIO()
    with (tmp_path / "memory").open("w+b") as memory:
        os.pwrite(memory.fileno(), DROPPED.pack(7), 0)
        serve(asked(7, picture(1)), answers, memory.fileno())
    assert ANSWER.unpack_from(answers.getvalue())[0] == REFUSED
