"""Images to classify: what a caller may hand over, in batches, with the answers back in their places."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aimic.domain.prediction import ImageError, ImageResult, PredictResponse
from aimic.errors import AimicError, NotFoundError, TooLargeError, UnreadableImageError

BATCH_IMAGES = 32
BATCH_BYTES = 16 * 2**20
"""A request holds at most this much, so that it ends well within its deadline; one image may be larger."""
MOST_BYTES = 64 * 2**20
"""A larger file isn't even read: no service takes it by default, and several are in memory at once."""

Image = Path | str | bytes | tuple[str, bytes]
"""A file, bytes, or (name, bytes)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image on its way, or why it can't go."""

    index: int
    name: str
    data: bytes = b""
    error: AimicError | None = None


def items(images: Iterable[Image]) -> Iterator[Item]:
    """The images with their numbers; NotFoundError for a file that isn't there."""
    for index, image in enumerate(images):
        name, data = _named(image)
        yield Item(index, name, data)


def items_or_errors(images: Iterable[Image]) -> Iterator[Item]:
    """The images with their numbers; a file that can't be read has its error in its place."""
    for index, image in enumerate(images):
        try:
            name, data = _named(image)
        except (NotFoundError, TooLargeError, UnreadableImageError) as error:
            yield Item(index, printable(str(image)), error=error)
        else:
            yield Item(index, name, data)


def batches(given: Iterable[Item]) -> Iterator[list[Item]]:
    """At most BATCH_IMAGES and BATCH_BYTES at a time, but at least one image."""
    batch: list[Item] = []
    size = 0
    for item in given:
        if batch and (len(batch) == BATCH_IMAGES or size + len(item.data) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item.data)
    if batch:
        yield batch


def answered(batch: Sequence[Item], response: PredictResponse) -> list[ImageResult]:
    """The results of a batch, numbered as the images are."""
    return [
        result.model_copy(update={"index": item.index}) for item, result in zip(batch, response.results, strict=True)
    ]


def unanswered(batch: Sequence[Item], error: AimicError) -> list[ImageResult]:
    """The error in every image's place."""
    said = ImageError(code=error.code, message=error.message)
    return [ImageResult(index=item.index, name=item.name, error=said) for item in batch]


def printable(name: str) -> str:
    """A file's name as text that can be sent and printed, whatever its bytes are."""
    return name.encode("utf-8", "backslashreplace").decode()


def _named(image: Image) -> tuple[str, bytes]:
    if isinstance(image, tuple):
        return image
    if isinstance(image, bytes):
        return "image", image
    path = Path(image)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise TooLargeError(f"An image may have {MOST_BYTES / 2**20:g} MiB at most; this file is larger.")
        return printable(path.name), path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {printable(str(path))}; it was not classified.") from None
    except OSError as error:
        raise UnreadableImageError(f"This file could not be opened ({error.strerror}).") from error
