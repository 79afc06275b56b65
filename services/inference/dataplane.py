"""The one path from encoded images to answers. REST and gRPC are shells over it and decide nothing.

resolve the version → admit → decode (processes) → queue → batch → network (threads) → calibrate → answer.
The caller's deadline is honoured at each arrow, and a caller who leaves stops costing at the next one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimic import faults
from aimic.domain.prediction import Answer, ImageError, ImageResult, PredictResponse
from aimic.domain.site import Principal
from aimic.errors import AimicError, InvalidInputError, NotFoundError, TooLargeError, UnreadableImageError
from aimic.imaging.limits import check_size
from aimic.nets.preprocessing import pixels_of
from services.inference import metrics
from services.inference.admission import Admission
from services.inference.answers import Source, answer_of
from services.inference.catalogue import Catalogue, Model, Served
from services.inference.deadline import Deadline
from services.inference.decoding import Decoders
from services.inference.loading import Loader
from services.inference.seen import VERSIONS


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image file's bytes, and the name by which the caller knows it."""

    data: bytes
    name: str | None = None


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image that the caller has decoded: uint8 RGB [height, width, 3], of any size within the limits."""

    pixels: NDArray[np.uint8]
    name: str | None = None


Image = EncodedImage | DecodedImage


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    image_bytes: int
    request_images: int


class DataPlane:
    """Answers requests for the versions in the catalogue."""

    def __init__(
        self,
        catalogue: Catalogue,
        loader: Loader,
        decoders: Decoders,
        admission: Admission,
        limits: Limits,
        look_again: Callable[[], Awaitable[None]],
    ) -> None:
        self.catalogue = catalogue
        self._loader = loader
        self._decoders = decoders
        self._admission = admission
        self._limits = limits
        self._look_again = look_again

    async def predict(
        self,
        model: str,
        version: int | None,
        images: Sequence[bytes | Image],
        deadline: Deadline,
        request_id: str,
        *,
        principal: Principal,
    ) -> PredictResponse:
        """Answers in the order of `images`; a bad image among several is an ImageError in its place.

        Raises NotFoundError (no such version), InvalidInputError (no image, or the only one is bad),
        TooLargeError, OverloadedError, UnavailableError (the version can't be loaded), DeadlineError.
        """
        started = time.monotonic()
        try:
            named = self._checked(images)
            with self._admission.admit(len(named), deadline):
                served, ready = await self._model(principal.site, model, version, deadline)
                with ready.use():
                    source = Source(served.entry, ready.info, ready.loaded.executor, request_id)
                    results = await self._all(named, ready, source, deadline)
        except AimicError as error:
            if error.code != "overloaded":  # counted where it is decided
                metrics.REJECTED.labels(error.code).inc()
            raise
        faults.point("inference.answering")
        entry = served.entry
        VERSIONS.of(entry).answered(time.monotonic() - started, len(named))
        return PredictResponse(model=entry.name, version=entry.version, request_id=request_id, results=results)

    async def _model(self, site: str, name: str, version: int | None, deadline: Deadline) -> tuple[Served, Model]:
        """The version in memory; one that we don't know may be new, so the registry is asked once."""
        try:
            return await self._loader.ensure(site, name, version, deadline)
        except NotFoundError:
            async with deadline.during("the registry was asked"):
                await self._look_again()
        return await self._loader.ensure(site, name, version, deadline)

    def _checked(self, images: Sequence[bytes | Image]) -> list[Image]:
        if not images:
            raise InvalidInputError("There is no image in the request; send at least one.")
        if len(images) > self._limits.request_images:
            raise TooLargeError(
                f"{len(images)} images in one request; at most {self._limits.request_images} are taken. "
                "Send them in several requests."
            )
        return [EncodedImage(image) if isinstance(image, bytes) else image for image in images]

    async def _all(
        self, images: list[Image], model: Model, source: Source, deadline: Deadline
    ) -> tuple[ImageResult, ...]:
        with model.batcher.expecting(len(images)) as arrived:
            try:
                # A group: when the deadline passes or the caller leaves, nothing goes on behind our back.
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._one(image, model, source, deadline, arrived)) for image in images]
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        outcomes = [task.result() for task in tasks]
        if len(outcomes) == 1 and isinstance(outcomes[0], AimicError):
            raise outcomes[0]
        return tuple(
            _result(index, image.name, outcome)
            for index, (image, outcome) in enumerate(zip(images, outcomes, strict=True))
        )

    async def _one(
        self,
        image: Image,
        model: Model,
        source: Source,
        deadline: Deadline,
        arrived: Callable[[], None],
    ) -> Answer | AimicError:
        """One image's answer, or what is wrong with it; errors that concern the whole request are raised."""
        seen = VERSIONS.of(source.entry)
        started = time.monotonic()
        try:
            pixels = await self._decode(image, source, deadline)
        except (UnreadableImageError, TooLargeError) as error:
            return error
        finally:
            arrived()
        seen.decoded(time.monotonic() - started)
        computed = await model.batcher.submit(pixels, deadline)
        seen.computed(computed.queue_s, computed.compute_s, computed.batch)
        self._admission.learned(computed.compute_s / computed.batch)
        return answer_of(computed.logits, source)

    async def _decode(self, image: Image, source: Source, deadline: Deadline) -> NDArray[np.uint8]:
        if isinstance(image, DecodedImage):
            return await self._stretch(image.pixels, source)
        if len(image.data) > self._limits.image_bytes:
            raise TooLargeError(
                f"An image may have {self._limits.image_bytes / 2**20:g} MiB at most; this one is larger."
            )
        if not image.data:
            raise UnreadableImageError("This file is empty.")
        return await self._decoders.decode(image.data, source.info.preprocessing, deadline)

    async def _stretch(self, pixels: NDArray[np.uint8], source: Source) -> NDArray[np.uint8]:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise UnreadableImageError(f"Pixels are uint8 [height, width, 3], not {pixels.dtype} {pixels.shape}.")
        check_size(width=pixels.shape[1], height=pixels.shape[0])
        return await asyncio.to_thread(pixels_of, pixels, source.info.preprocessing)


def _result(index: int, name: str | None, outcome: Answer | AimicError) -> ImageResult:
    if isinstance(outcome, Answer):
        return ImageResult(index=index, name=name, answer=outcome)
    metrics.REJECTED.labels(outcome.code).inc()
    return ImageResult(index=index, name=name, error=ImageError(code=outcome.code, message=outcome.message))
