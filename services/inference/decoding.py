"""Encoded bytes become the network's pixels in processes that may die.

Why processes and not threads: the bytes come from outside and the codecs are C; a picture that crashes one, or
makes it run for ever, costs its own request and not the service. A warm process costs under a millisecond more
than a thread for an image of a cell (the pipe carries about 200 KiB). They are fresh interpreters, never forks
of a process that holds a network and its threads, and import no torch.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aimic.errors import UnavailableError, UnreadableImageError
from aimic.nets.preprocessing import Preprocessing
from services.inference.deadline import Deadline
from services.inference.frames import ANSWER, QUESTION, REFUSED
from services.inference.metrics import DECODER_DEATHS

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "services.inference.decode_worker")
_PIPE_BYTES = 1024 * 1024
_AGAIN_S, _LONGEST_S = 0.2, 10.0
"""Between tries to start a process where the machine has none left to give."""
_TRIES = 2
"""A process may also die of something else, such as the machine's want of memory; an image gets a second one."""


def _environment() -> dict[str, str]:
    """Nothing of ours, which may hold credentials. One thread: there is a process per CPU already."""
    path = os.pathsep.join(part for part in sys.path if part)
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Decoders:
    """A fixed number of decoding processes; one that dies is replaced."""

    def __init__(self, count: int, seconds: float, command: Sequence[str] = COMMAND) -> None:
        self._command = command
        self._count = count
        self._seconds = seconds
        self._idle: asyncio.Queue[asyncio.subprocess.Process] = asyncio.Queue()
        self._all: set[asyncio.subprocess.Process] = set()
        self._running: set[asyncio.Task[tuple[int, bytes] | None]] = set()
        self._missing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start the processes; the first images wait until one has its libraries."""
        for _ in range(self._count):
            await self._spawn()

    async def decode(self, data: bytes, preprocessing: Preprocessing, deadline: Deadline) -> NDArray[np.uint8]:
        """uint8 RGB [size, size, 3]; UnreadableImageError with the reason, DeadlineError when time runs out."""
        for _ in range(_TRIES):
            async with deadline.during("the image waited to be decoded"):
                process = await self._idle.get()
            task = asyncio.create_task(self._exchange(process, preprocessing, data))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            async with deadline.during("the image was decoded"):
                # Shielded: a caller who leaves must not leave half a frame in the pipe.
                reply = await asyncio.shield(task)
            if reply is not None:
                return _pixels(*reply, preprocessing.image_size)
        raise UnreadableImageError(
            "This file crashes the image decoder, so it is not read. Save it anew and try again."
        )

    async def close(self) -> None:
        """End the processes; images that are being decoded get an UnavailableError."""
        self._closed = True
        for task in self._missing:
            task.cancel()
        await asyncio.gather(*self._missing, return_exceptions=True)
        for process in tuple(self._all):
            await self._end(process)
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _exchange(
        self, process: asyncio.subprocess.Process, preprocessing: Preprocessing, data: bytes
    ) -> tuple[int, bytes] | None:
        """One question and its answer, None when the process died of it; a process is idle again afterwards."""
        assert process.stdin is not None and process.stdout is not None
        described = preprocessing.model_dump_json().encode()
        try:
            async with asyncio.timeout(self._seconds):
                process.stdin.writelines((QUESTION.pack(len(described), len(data)), described, data))
                await process.stdin.drain()
                kind, size = ANSWER.unpack(await process.stdout.readexactly(ANSWER.size))
                payload = await process.stdout.readexactly(size)
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            await self._replace(process, error)
            if isinstance(error, TimeoutError):
                raise UnreadableImageError(
                    f"This image took longer than {self._seconds:g} s to decode, so it was given up."
                ) from None
            return None
        self._idle.put_nowait(process)
        return kind, payload

    async def _spawn(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_PIPE_BYTES,
            # A Ctrl-C is for the service: requests that were taken still need their decoder.
            start_new_session=True,
            env=_environment(),
        )
        self._all.add(process)
        self._idle.put_nowait(process)

    async def _replace(self, process: asyncio.subprocess.Process, cause: Exception) -> None:
        await self._end(process)
        if self._closed:
            raise UnavailableError("This service is stopping; ask again.", retry_after_s=2)
        DECODER_DEATHS.inc()
        logger.warning("a decoding process was replaced", extra={"cause": type(cause).__name__})
        try:
            await self._spawn()
        except OSError as error:
            # In the background: the image at hand can be decoded by another process meanwhile.
            task = asyncio.create_task(self._spawn_later(error), name="decoder wanted")
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

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._all.discard(process)
        if process.returncode is None:
            process.kill()
        await process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _pixels(kind: int, payload: bytes, size: int) -> NDArray[np.uint8]:
    if kind == REFUSED:
        raise UnreadableImageError(payload.decode())
    return np.frombuffer(payload, np.uint8).reshape(size, size, 3)
