"""Images that somebody keeps already, named instead of sent: samples of a data set, or objects in S3."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import quote

import httpx
from pydantic import Field, ValidationError
from pydantic_core import from_json

from aimic.client.problems import error_of
from aimic.domain.base import Command
from aimic.domain.site import Principal
from aimic.errors import CorruptError, ForbiddenError, InvalidInputError, TooLargeError, UnavailableError
from aimic.telemetry import outgoing
from services.inference.dataplane import EncodedImage
from services.inference.rest.objects import Objects
from services.inference.rest.room import Room

_AT_ONCE = 8
_MOST_JSON = 2**20
_AWAY_S = 5.0


class SampleReferences(Command):
    """A JSON body: the images are samples of this data set, named by the SHA-256 of their stored bytes."""

    dataset: str = Field(min_length=1, max_length=200, pattern=r"[^.]")  # no name that a path would swallow
    samples: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...] = Field(min_length=1)


class ObjectReferences(Command):
    """A JSON body: the images are objects, `s3://bucket/key`, or all objects below `s3://bucket/prefix/`."""

    s3: tuple[Annotated[str, Field(max_length=2000)], ...] = Field(min_length=1)


class References:
    """Whatever a JSON body names; what this service can't reach is said."""

    def __init__(self, samples: "Samples | None", objects: Objects | None) -> None:
        self._samples = samples
        self._objects = objects

    async def images(
        self, body: bytes, headers: Mapping[str, str], principal: Principal, room: Room
    ) -> list[EncodedImage]:
        """The images that a JSON body names, in its order. The errors of `Samples` and `Objects`."""
        wanted = _read(body)
        if isinstance(wanted, SampleReferences):
            if self._samples is None:
                raise ForbiddenError("This service has no data sets to take samples from. Send the images.")
            return await self._samples.images(wanted, headers, room)
        if self._objects is None:
            raise ForbiddenError(
                "No bucket is open to requests here. An operator can open one to your site "
                "(AIMIC_INFERENCE_S3_READABLE), or send the images themselves."
            )
        return await self._objects.images(wanted.s3, principal, room)


class Samples:
    """Gets samples from ingest with the caller's own credential: who may not see them there gets none of them here.

    `http` speaks to ingest and carries no key of ours.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def images(self, wanted: SampleReferences, headers: Mapping[str, str], room: Room) -> list[EncodedImage]:
        """The samples in their order, each named by its hash.

        InvalidInputError, TooLargeError, UnavailableError, and what ingest says: NotFoundError, ForbiddenError, …
        """
        if len(wanted.samples) > room.most:
            raise TooLargeError(f"At most {room.most} images are taken in one request. Name them in several requests.")
        sent = outgoing() | ({"authorization": headers["authorization"]} if "authorization" in headers else {})
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(sha256: str) -> EncodedImage:
            path = f"/api/v1/datasets/{quote(wanted.dataset, safe='')}/samples/{sha256}/image"
            async with turns:
                data = await self._get(path, sent, room.image_bytes, room.hold)
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

    async def _get(self, path: str, sent: Mapping[str, str], image_bytes: int, hold: Callable[[int], None]) -> bytes:
        pieces, size = [], 0
        try:
            async with self._http.stream("GET", path, headers=dict(sent)) as answer:
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


def _read(body: bytes) -> SampleReferences | ObjectReferences:
    if len(body) > _MOST_JSON:
        raise TooLargeError(f"A JSON body names images and has {_MOST_JSON // 2**20} MiB at most; it was not read.")
    try:
        named = from_json(body)
        form = ObjectReferences if isinstance(named, dict) and "s3" in named else SampleReferences
        return form.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise _unlike(f"{place}: {first['msg']}.") from None
    except ValueError as error:
        raise _unlike(f"The body: {error}.") from None


def _unlike(why: str) -> InvalidInputError:
    return InvalidInputError(
        'A JSON body names samples, {"dataset": NAME, "samples": [SHA-256, …]}, or objects, '
        f'{{"s3": ["s3://bucket/key", …]}}. {why}'
    )
