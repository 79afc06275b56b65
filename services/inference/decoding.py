"""Encoded bytes become the network's pixels in processes that may die.

Why processes and not threads: the bytes come from outside and the codecs are C; a picture that crashes one, or
makes it run for ever, costs its own request and not the service. They are fresh interpreters, never forks of a
process that holds a network and its threads, and import no torch. A process takes several images of one request
at once; only if that goes wrong it gets them one by one, which tells whose fault it is.
"""

import asyncio
import itertools
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimic.errors import UnavailableError, UnreadableImageError
from aimic.nets.preprocessing import Preprocessing
from services.inference.deadline import Deadline
from services.inference.frames import ANSWER, DROPPED, LENGTH, PIXELS_AT, QUESTION, REFUSED
from services.inference.metrics import DECODER_DEATHS

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "services.inference.decode_worker")
_PIPE_BYTES = 64 * 1024
_LONGEST_REASON = 16 * 1024
_AGAIN_S, _LONGEST_S = 0.2, 10.0
"""Between tries to start a process where the machine has none left to give."""
_TRIES = 2
"""A process may also die of something else, such as the machine's want of memory; an image gets a second one."""
_AT_ONCE, _AT_ONCE_BYTES = 8, 8 * 1024 * 1024
"""Images that a process takes at once, and their pixels: enough that the exchange costs little, few enough that
other requests needn't wait for long."""
_DROPPED_S = 1.0
"""How long a process may go on with an image for which nobody waits any more; then it is replaced."""

Pixels = NDArray[np.uint8]
Outcome = Pixels | UnreadableImageError
"""uint8 RGB [size, size, 3], or why there are none."""


def _environment() -> dict[str, str]:
    """Nothing of ours, which may hold credentials. One thread: there is a process per CPU already."""
    path = os.pathsep.join(part for part in sys.path if part)
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(slots=True, eq=False)
class Decoder:
    """A process, and the memory into which it writes pixels."""

    process: asyncio.subprocess.Process
    memory: int


class Question:
    """Some images for one process, until they are answered or nobody wants them."""

    _numbers = itertools.count(1)

    def __init__(self, images: Sequence[bytes], preprocessing: Preprocessing) -> None:
        self.number = next(self._numbers)
        self.images = images
        self.size = preprocessing.image_size
        described = preprocessing.model_dump_json().encode()
        lengths = b"".join(LENGTH.pack(len(image)) for image in images)
        self.frame = (QUESTION.pack(self.number, len(described), len(images)), described, lengths, *images)

    def outcomes(self, memory: int, reasons: Sequence[str | None]) -> list[Outcome]:
        """What a process says and wrote; OSError when it wrote less than it says."""
        pixels = np.empty((len(reasons), self.size, self.size, 3), np.uint8)
        read = os.preadv(memory, [pixels.data], PIXELS_AT)
        whole = [index for index, reason in enumerate(reasons) if reason is None]
        if whole and read < (whole[-1] + 1) * pixels[0].nbytes:
            raise OSError("a decoding process did not write its pixels")
        return [
            pixels[index] if reason is None else UnreadableImageError(reason) for index, reason in enumerate(reasons)
        ]


class Decoders:
    """A fixed number of decoding processes; one that dies is replaced."""

    def __init__(self, count: int, seconds: float, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self.count = count
        self._seconds = seconds
        self._idle: asyncio.Queue[Decoder] = asyncio.Queue()
        self._all: set[Decoder] = set()
        self._running: set[asyncio.Task[list[Outcome] | None]] = set()
        self._missing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start the processes; the first images wait until one has its libraries."""
        for _ in range(self.count):
            await self._spawn()

    def share(self, images: int, preprocessing: Preprocessing) -> int:
        """How many of a request's images `decode` best takes at once: all processes work, none for long."""
        most = min(_AT_ONCE, max(1, _AT_ONCE_BYTES // (preprocessing.image_size**2 * 3)))
        return max(1, min(most, -(-images // self.count)))

    async def decode(self, images: Sequence[bytes], preprocessing: Preprocessing, deadline: Deadline) -> list[Outcome]:
        """One outcome for each image; DeadlineError when time runs out, UnavailableError when we are stopping."""
        outcomes = await self._ask(images, preprocessing, deadline)
        if outcomes is not None:
            return outcomes
        if len(images) > 1:
            return [(await self.decode([image], preprocessing, deadline))[0] for image in images]
        for _ in range(_TRIES - 1):
            outcomes = await self._ask(images, preprocessing, deadline)
            if outcomes is not None:
                return outcomes
        crashes = "This file crashes the image decoder, so it is not read. Save it anew and try again."
        return [UnreadableImageError(crashes)]

    async def close(self) -> None:
        """End the processes; images that are being decoded get an UnavailableError."""
        self._closed = True
        for task in self._missing:
            task.cancel()
        await asyncio.gather(*self._missing, return_exceptions=True)
        for decoder in tuple(self._all):
            await self._end(decoder)
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _ask(
        self, images: Sequence[bytes], preprocessing: Preprocessing, deadline: Deadline
    ) -> list[Outcome] | None:
        """The outcomes, or None when the process died of them, or took too long over several."""
        async with deadline.during("the image waited to be decoded"):
            decoder = await self._living()
        question = Question(images, preprocessing)
        task = asyncio.create_task(self._exchange(decoder, question))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            async with deadline.during("the image was decoded"):
                # Shielded: a caller who leaves must not leave half a frame in the pipe.
                return await asyncio.shield(task)
        finally:
            if not task.done() and decoder in self._all:  # else its memory is closed, or somebody else's by now
                _drop(decoder, question, task)

    async def _living(self) -> Decoder:
        """The next idle process. One that died while it was idle is replaced: no image did that."""
        while (decoder := await self._idle.get()).process.returncode is not None:
            self._later(self._replace(decoder, BrokenPipeError()), "decoder replaced")
        return decoder

    async def _exchange(self, decoder: Decoder, question: Question) -> list[Outcome] | None:
        """A question and its answers; the process is idle again afterwards, or replaced."""
        process = decoder.process
        assert process.stdin is not None and process.stdout is not None
        try:
            async with asyncio.timeout(self._seconds):
                process.stdin.writelines(question.frame)
                await process.stdin.drain()
                reasons = [await _reason(process.stdout) for _ in question.images]
            outcomes = question.outcomes(decoder.memory, reasons)
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            await self._replace(decoder, error)
            if isinstance(error, TimeoutError) and len(question.images) == 1:
                took = f"This image took longer than {self._seconds:g} s to decode, so it was given up."
                return [UnreadableImageError(took)]
            return None
        self._idle.put_nowait(decoder)
        return outcomes

    async def _spawn(self) -> None:
        memory = os.memfd_create("pixels")
        try:
            process = await self._started(memory)
        except OSError:
            os.close(memory)
            raise
        decoder = Decoder(process, memory)
        self._all.add(decoder)
        self._idle.put_nowait(decoder)

    async def _started(self, memory: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            str(memory),
            pass_fds=(memory,),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_PIPE_BYTES,
            # A Ctrl-C is for the service: requests that were taken still need their decoder.
            start_new_session=True,
            env=_environment(),
        )

    async def _replace(self, decoder: Decoder, cause: Exception) -> None:
        await self._end(decoder)
        if self._closed:
            raise UnavailableError("This service is stopping; ask again.", retry_after_s=2)
        DECODER_DEATHS.inc()
        logger.warning("a decoding process was replaced", extra={"cause": type(cause).__name__})
        try:
            await self._spawn()
        except OSError as error:
            # In the background: the image at hand can be decoded by another process meanwhile.
            self._later(self._spawn_later(error), "decoder wanted")

    def _later(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._missing.add(task)
        task.add_done_callback(self._missing.discard)

    async def _spawn_later(self, error: OSError) -> None:
        """Try until there is a process again: fewer than were asked for would stay fewer for good."""
        pause_s = _AGAIN_S
        while True:
            logger.warning("no decoding process could be started; another try follows", extra={"cause": repr(error)})
            await asyncio.sleep(pause_s)
            try:
                await self._spawn()
            except OSError as again:
                error, pause_s = again, min(_LONGEST_S, 2 * pause_s)
            else:
                return

    async def _end(self, decoder: Decoder) -> None:
        if decoder not in self._all:
            return
        self._all.discard(decoder)
        process = decoder.process
        if process.returncode is None:
            process.kill()
        await process.wait()
        assert process.stdin is not None
        process.stdin.close()
        os.close(decoder.memory)


async def _reason(answers: asyncio.StreamReader) -> str | None:
    """Why an image is refused, None when its pixels are there."""
    kind, size = ANSWER.unpack(await answers.readexactly(ANSWER.size))
    if size > _LONGEST_REASON:
        raise OSError("a decoding process talks nonsense")
    return (await answers.readexactly(size)).decode(errors="replace") if kind == REFUSED else None


def _drop(decoder: Decoder, question: Question, task: "asyncio.Task[list[Outcome] | None]") -> None:
    """Nobody waits for it any more: the process shall go on to other work, and is ended when it doesn't soon."""
    os.pwrite(decoder.memory, DROPPED.pack(question.number), 0)

    def end() -> None:
        if not task.done() and decoder.process.returncode is None:
            decoder.process.kill()

    asyncio.get_running_loop().call_later(_DROPPED_S, end)
