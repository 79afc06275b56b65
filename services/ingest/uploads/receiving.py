"""The body of a PATCH on its way in: stored piece by piece, in memory that doesn't grow with it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from aimic.errors import AimicError, ConflictError, NotFoundError, OverloadedError, TooLargeError
from services.ingest.uploads.schemas import Checksum
from services.ingest.uploads.service import PIECE, Live, Staged, UploadService

logger = logging.getLogger(__name__)

AT_ONCE = 12
"""Bodies that are received side by side. Each holds up to two pieces: 192 MiB in all."""
TURN_S = 10.0
"""Seconds that a further one waits, unread, before it is sent away."""
MISMATCH = 460
"""tus' own status for a checksum that doesn't hold."""


@asynccontextmanager
async def turn(request: Request) -> AsyncIterator[None]:
    """Hold one of AT_ONCE places within the block; OverloadedError when none gets free in time."""
    state = request.app.state
    if not hasattr(state, "upload_turns"):
        state.upload_turns = asyncio.Semaphore(AT_ONCE)
    turns: asyncio.Semaphore = state.upload_turns
    try:
        async with asyncio.timeout(TURN_S):
            await turns.acquire()
    except TimeoutError:
        raise OverloadedError(
            "Too many uploads are sent at once. Nothing of this part was taken and nothing is lost; send it again.",
            retry_after_s=5,
        ) from None
    try:
        yield
    finally:
        turns.release()


class Body:
    """One PATCH: pieces are stored as they come; with a checksum they count only when it holds."""

    def __init__(self, service: UploadService, site: str, live: Live, expected: Checksum | None) -> None:
        self._service, self._site, self._live, self._checksum = service, site, live, expected
        self._parts: list[bytes] = []
        self._held = 0
        self._staged: list[Staged] = []
        self._room = live.upload.length - live.upload.offset

    async def receive(self, request: Request) -> None:
        """Take the body as it comes. TooLargeError when it is longer than what is left of the upload."""
        async for data in request.stream():
            self._room -= len(data)
            if self._room < 0:
                raise TooLargeError("More bytes came than the upload was said to have; the surplus was not taken.")
            if self._checksum:
                self._checksum.digest.update(data)
            await self._take(data)

    async def finish(self) -> Live:
        """All of it came: store the rest, and record it all if its checksum holds."""
        await self._store()
        if self._checksum:
            if not self._checksum.holds():
                raise HTTPException(MISMATCH, "The bytes changed on their way; nothing of them was kept. Send again.")
            await self._record()
        return self._live

    async def interrupted(self) -> Live:
        """The sender is gone: what came is kept, so that the next try begins there (unless a checksum was to hold)."""
        if self._checksum:
            await self.abandon()
        else:
            await self._store()
        return self._live

    async def abandon(self) -> None:
        """Drop what was stored and is certainly not recorded."""
        staged, self._staged = self._staged, []
        if not staged:
            return
        try:
            await run_in_threadpool(self._service.discard, staged)
        except AimicError as error:  # they go with the upload, at the latest
            logger.warning("pieces that don't count were not removed", extra={"reason": error.message})

    async def _take(self, data: bytes) -> None:
        while data:
            part, data = data[: PIECE - self._held], data[PIECE - self._held :]
            self._parts.append(part)
            self._held += len(part)
            if self._held == PIECE:
                await self._store()

    async def _store(self) -> None:
        if not self._held:
            return
        piece = b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        upload = self._live.upload
        self._staged.append(await run_in_threadpool(self._service.stage, self._site, upload.id, piece))
        if not self._checksum:
            await self._record()

    async def _record(self) -> None:
        upload = self._live.upload
        staged, self._staged = self._staged, []
        try:
            self._live = await run_in_threadpool(self._service.record, self._site, upload.id, upload.offset, staged)
        except (ConflictError, NotFoundError):
            self._staged = staged
            raise
        # After any other trouble (no answer to the commit, a cancelled request) they may be recorded, and the next
        # HEAD then says so: they are left, and go with the upload if they don't count.


async def received(request: Request, body: Body) -> Live:
    """The upload as it is after this body; what came and certainly doesn't count is removed, whatever happens."""
    try:
        try:
            await body.receive(request)
        except ClientDisconnect:
            return await body.interrupted()
        return await body.finish()
    except BaseException:
        with contextlib.suppress(asyncio.CancelledError):
            await body.abandon()
        raise
