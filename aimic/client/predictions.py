"""Ask a served model."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aimic.client.transport import Transport
from aimic.domain.prediction import ImageError, ImageResult, PredictResponse
from aimic.errors import (
    AimicError,
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
    UnreadableImageError,
)

BATCH_IMAGES = 32
BATCH_BYTES = 16 * 2**20
"""A request holds at most this much, so that it ends well within its deadline; one image may be larger."""

_COST_THEIR_BATCH = (UnreadableImageError, DeadlineError, OverloadedError, UnavailableError)
"""After the retries; for the images of other batches they mean nothing."""

Image = Path | str | bytes | tuple[str, bytes]
"""A file, bytes, or (name, bytes)."""


class Predictions:
    """The inference service's REST face."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def models(self) -> list[dict[str, Any]]:
        """What is served: name, version, state (ready, loading, refused) and reason of each."""
        return list(self._transport.get("/inference/v1/models")["items"])

    def predict(
        self, model: str, images: Sequence[Image], version: int | None = None, deadline_s: float = 30.0
    ) -> PredictResponse:
        """Answers in the order of `images`, sent in batches; a bad image has its error in its place.

        A batch that was not answered (too busy, too late, away) has that error in the places of its images, and
        the others are answered all the same; the error is raised only when no batch was answered.
        `request_id` of the response is the last batch's; each answer names its own.
        """
        if not images:
            raise InvalidInputError("There is no image to classify.")
        results: list[ImageResult] = []
        response: PredictResponse | None = None
        refused: AimicError | None = None
        for batch in _batches(images):
            first = len(results)
            try:
                response = self._send(model, version, batch, deadline_s)
            except _COST_THEIR_BATCH as error:
                refused = refused or error
                results += [_refused(first + i, name, error) for i, (name, _) in enumerate(batch)]
                continue
            results += [r.model_copy(update={"index": first + i}) for i, r in enumerate(response.results)]
        if response is None:
            assert refused is not None
            raise refused
        return response.model_copy(update={"results": tuple(results)})

    def _send(
        self, model: str, version: int | None, batch: list[tuple[str, bytes]], deadline_s: float
    ) -> PredictResponse:
        path = f"/inference/v1/models/{quote(model, safe='')}"
        if version is not None:
            path += f"/versions/{version}"
        files = [("images", (name, data, "application/octet-stream")) for name, data in batch]
        # Asking changes nothing, so it may be asked again.
        answer = self._transport.request(
            "POST",
            f"{path}/predict",
            again=True,
            patience_s=deadline_s,
            headers={"x-deadline-ms": str(round(deadline_s * 1000))},
            files=files,
            timeout=deadline_s + 5.0,
        )
        return PredictResponse.model_validate(answer.json())


def _refused(index: int, name: str, error: AimicError) -> ImageResult:
    return ImageResult(index=index, name=name, error=ImageError(code=error.code, message=error.message))


def _batches(images: Iterable[Image]) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for image in images:
        name, data = _named(image)
        if batch and (len(batch) == BATCH_IMAGES or size + len(data) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((name, data))
        size += len(data)
    yield batch


def _named(image: Image) -> tuple[str, bytes]:
    if isinstance(image, tuple):
        return image
    if isinstance(image, bytes):
        return "image", image
    path = Path(image)
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}; nothing was classified.")
    return path.name, path.read_bytes()
