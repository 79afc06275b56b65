"""Images that the platform has already: samples of a data set, named instead of sent."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import quote

import httpx
from pydantic import Field, ValidationError

from aimic.client.problems import error_of
from aimic.domain.base import Command
from aimic.errors import CorruptError, InvalidInputError, TooLargeError, UnavailableError
from services.inference.dataplane import EncodedImage

_AT_ONCE = 8
_AWAY_S = 5.0


class SampleReferences(Command):
    """A JSON body: the images are samples of this data set, named by the SHA-256 of their stored bytes."""

    dataset: str = Field(min_length=1, max_length=200, pattern=r"[^.]")  # no name that a path would swallow
    samples: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...] = Field(min_length=1)


class Samples:
    """Gets samples from ingest with the caller's own credential: who may not see them there gets none of them here.

    `http` speaks to ingest and carries no key of ours.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def images(
        self, body: bytes, headers: Mapping[str, str], most: int, image_bytes: int, hold: Callable[[int], None]
    ) -> list[EncodedImage]:
        """The samples of a JSON body, in its order, each named by its hash.

        At most `most` of at most `image_bytes`; `hold` is told of all bytes before they are kept, and may refuse.
        InvalidInputError, TooLargeError, UnavailableError, and what ingest says: NotFoundError, ForbiddenError, …
        """
        try:
            wanted = SampleReferences.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the body"
            raise InvalidInputError(
                f'A JSON body names samples: {{"dataset": NAME, "samples": [SHA-256, …]}}. {place}: {first["msg"]}.'
            ) from error
        if len(wanted.samples) > most:
            raise TooLargeError(f"At most {most} images are taken in one request. Name them in several requests.")
        credential = {"authorization": headers["authorization"]} if "authorization" in headers else {}
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(sha256: str) -> EncodedImage:
            path = f"/api/v1/datasets/{quote(wanted.dataset, safe='')}/samples/{sha256}/image"
            async with turns:
                data = await self._get(path, credential, image_bytes, hold)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise CorruptError(f"Sample {sha256} came with other bytes than it was stored with; it was not used.")
            return EncodedImage(data, sha256)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(sha256)) for sha256 in wanted.samples]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def _get(
        self, path: str, credential: Mapping[str, str], image_bytes: int, hold: Callable[[int], None]
    ) -> bytes:
        pieces, size = [], 0
        try:
            async with self._http.stream("GET", path, headers=dict(credential)) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise error_of(answer)
                async for piece in answer.aiter_bytes():
                    size += len(piece)
                    if size > image_bytes:
                        raise TooLargeError(
                            f"An image may have {image_bytes / 2**20:g} MiB at most; a sample has more."
                        )
                    hold(len(piece))
                    pieces.append(piece)
        except httpx.HTTPError as error:
            raise UnavailableError(
                "The data sets can't be reached now, so the samples were not classified. Images that are sent are.",
                retry_after_s=_AWAY_S,
            ) from error
        return b"".join(pieces)
