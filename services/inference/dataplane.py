"""The one path from encoded images to answers. REST and gRPC are shells over it and decide nothing.

resolve the version → admit → decode (processes) → queue → batch → network (thread) → calibrate → answer.
The caller's deadline is honoured at each arrow, and a caller who leaves stops costing at the next one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimic import faults
from aimic.domain.prediction import ImageError, ImageResult, PredictResponse
from aimic.domain.site import Principal
from aimic.errors import AimicError, InvalidInputError, NotFoundError, TooLargeError, UnreadableImageError
from aimic.imaging.limits import check_size
from aimic.nets.preprocessing import pixels_of
from services.inference import metrics
from services.inference.admission import Admission
from services.inference.answers import Source, answer_of
from services.inference.batching import Batcher
from services.inference.catalogue import Catalogue, Model, Served
from services.inference.deadline import Deadline
from services.inference.decoding import Decoders, Outcome
from services.inference.jobs import Job
from services.inference.loading import Loader
from services.inference.probing import Prober
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
        prober: Prober,
        limits: Limits,
        look_again: Callable[[], Awaitable[None]],
    ) -> None:
        self.catalogue = catalogue
        self._loader = loader
        self._decoders = decoders
        self._admission = admission
        self._prober = prober
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
            # Before there is room for it: who waits for a model to be loaded keeps nobody from those that are.
            served, ready = await self._model(principal.site, model, version, deadline)
            self._prober.refuse_fenced(served)
            with ready.use(), self._admission.room(len(named)) as room:
                room.work(ready.batcher.pace.image_s, deadline)
                source = Source(served.entry, ready.info, ready.loaded.executor, request_id)
                results = await self._all(named, ready, source, deadline)
                room.answered()
        except AimicError as error:
            if error.code != "overloaded":  # counted where it is decided
                metrics.REJECTED.labels(error.code).inc()
            raise
        except Exception:
            metrics.REJECTED.labels(AimicError.code).inc()
            raise
        faults.point("inference.answering")
        entry = served.entry
        VERSIONS.of(entry).answered(time.monotonic() - started, len(named))
        return PredictResponse(model=entry.name, version=entry.version, request_id=request_id, results=results)

    def door(self) -> AbstractContextManager[None]:
        """For the shells, around all of a request: OverloadedError when it would be turned away, before it is read."""
        return self._admission.door()

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
        with model.batcher.job(len(images), deadline) as job:
            work = _Work(images, source, deadline, model.batcher, job)
            await self._prepare(work)
            computed = await job.results()
        if len(images) == 1 and work.refused:
            raise work.refused[0]
        seen = VERSIONS.of(source.entry)
        for result in computed.values():
            seen.computed(result.queue_s, result.compute_s, result.batch)
        return tuple(
            _refused(index, image.name, work.refused[index])
            if index in work.refused
            else ImageResult(index=index, name=image.name, answer=answer_of(computed[index].logits, source))
            for index, image in enumerate(images)
        )

    async def _prepare(self, work: "_Work") -> None:
        """Every image to its pixels, several at a time; of other requests' images some come in between."""
        encoded = [index for index, image in enumerate(work.images) if self._is_encoded(index, image, work)]
        preprocessing = work.source.info.preprocessing
        share = self._decoders.share(len(encoded), preprocessing)
        shares = iter([encoded[start : start + share] for start in range(0, len(encoded), share)])
        if len(encoded) <= share and len(encoded) == len(work.images):
            await self._decode(work, shares)
            return
        try:
            # A group: when the deadline passes or the caller leaves, nothing goes on behind our back.
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._decoders.count, -(-len(encoded) // share))):
                    group.create_task(self._decode(work, shares))
                group.create_task(self._stretch(work))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _is_encoded(self, index: int, image: Image, work: "_Work") -> bool:
        """Whether it is to be decoded; one that needn't be tried is refused here."""
        if isinstance(image, DecodedImage):
            return False
        if len(image.data) > self._limits.image_bytes:
            most = f"{self._limits.image_bytes / 2**20:g} MiB"
            work.arrived(index, TooLargeError(f"An image may have {most} at most; this one is larger."))
        elif not image.data:
            work.arrived(index, UnreadableImageError("This file is empty."))
        else:
            return True
        return False

    async def _decode(self, work: "_Work", shares: Iterator[list[int]]) -> None:
        seen = VERSIONS.of(work.source.entry)
        for share in shares:
            if work.job.over:
                return
            started = time.monotonic()
            data = [image.data for index in share if isinstance(image := work.images[index], EncodedImage)]
            outcomes = await self._decoders.decode(data, work.source.info.preprocessing, work.deadline)
            took = time.monotonic() - started
            for index, outcome in zip(share, outcomes, strict=True):
                work.arrived(index, outcome)
                seen.decoded(took)

    async def _stretch(self, work: "_Work") -> None:
        """Images that came decoded only need the network's size."""
        preprocessing = work.source.info.preprocessing
        for index, image in enumerate(work.images):
            if isinstance(image, DecodedImage) and not work.job.over:
                try:
                    _check_pixels(image.pixels)
                    async with work.deadline.during("the image was resized"):
                        work.arrived(index, await asyncio.to_thread(pixels_of, image.pixels, preprocessing))
                except (UnreadableImageError, TooLargeError) as error:
                    work.arrived(index, error)


class _Work:
    """One request's images, and what became of those that the network won't see."""

    def __init__(self, images: list[Image], source: Source, deadline: Deadline, batcher: Batcher, job: Job) -> None:
        self.images = images
        self.source = source
        self.deadline = deadline
        self.job = job
        self.refused: dict[int, AimicError] = {}
        self._batcher = batcher

    def arrived(self, index: int, outcome: Outcome | TooLargeError) -> None:
        """Image `index` is decoded, or refused."""
        if isinstance(outcome, AimicError):
            self.refused[index] = outcome
            self._batcher.submit(self.job, index, None)
        else:
            self._batcher.submit(self.job, index, outcome)


def _check_pixels(pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise UnreadableImageError(f"Pixels are uint8 [height, width, 3], not {pixels.dtype} {pixels.shape}.")
    check_size(width=pixels.shape[1], height=pixels.shape[0])


def _refused(index: int, name: str | None, error: AimicError) -> ImageResult:
    metrics.REJECTED.labels(error.code).inc()
    return ImageResult(index=index, name=name, error=ImageError(code=error.code, message=error.message))
