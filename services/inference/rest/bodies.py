"""Request bodies become images while they stream in, under limits; nothing touches the disk."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect, Request

from aimic.disconnect import unless_gone
from aimic.domain.site import Principal
from aimic.errors import InvalidInputError, TooLargeError
from services.inference.admission import ByteBudget
from services.inference.dataplane import EncodedImage
from services.inference.rest.multipart import ImageParts
from services.inference.rest.references import References
from services.inference.rest.room import Room

FIELD = "images"


@dataclass(frozen=True)
class BodyLimits:
    """What a request may bring."""

    request_bytes: int
    image_bytes: int
    request_images: int


class Bodies:
    """Reads the images of requests."""

    def __init__(self, limits: BodyLimits, budget: ByteBudget, references: References) -> None:
        self._limits = limits
        self._budget = budget
        self._references = references

    @contextmanager
    def holding(self) -> Iterator["Held"]:
        """Room in memory for one body, until the request is answered."""
        held = Held(self._budget, self._limits.request_bytes)
        try:
            yield held
        finally:
            held.give_back()

    async def images(self, request: Request, held: "Held", principal: Principal) -> list[EncodedImage]:
        """The images of a raw or multipart body, or those that a JSON body names and `principal` may see, in order.

        TooLargeError beyond the request's limits, OverloadedError when the service holds too many bytes,
        InvalidInputError for a body that isn't what its content type says, ClientDisconnect.
        """
        held.refuse_declared(request.headers.get("content-length"))
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        stream = held.counted(request)
        if kind == b"multipart/form-data":
            return await self._multipart(stream, options.get(b"boundary", b""))
        if kind.startswith(b"image/") or kind in {b"", b"application/octet-stream"}:
            return [EncodedImage(b"".join([piece async for piece in stream]))]
        if kind == b"application/json":
            body = b"".join([piece async for piece in stream])
            room = Room(self._limits.request_images, self._limits.image_bytes, held.more)
            return await unless_gone(request, self._references.images(body, request.headers, principal, room))
        raise InvalidInputError(
            f"A body of type {kind.decode('latin-1')!r} is not taken. Send one image file as it is "
            f"(image/* or application/octet-stream), or several as multipart/form-data parts named {FIELD!r}."
        )

    async def whole(self, request: Request, held: "Held") -> bytes:
        """A body as it came, whatever is in it. TooLargeError and OverloadedError as for images."""
        held.refuse_declared(request.headers.get("content-length"))
        return b"".join([piece async for piece in held.counted(request)])

    async def _multipart(self, stream: AsyncIterator[bytes], boundary: bytes) -> list[EncodedImage]:
        parts = ImageParts(boundary, FIELD, self._limits.image_bytes, self._limits.request_images)
        try:
            async for piece in stream:
                parts.feed(piece)
            return parts.finish()
        except MultipartParseError as error:
            raise InvalidInputError(
                f"The multipart body is malformed ({error}); nothing in it was looked at."
            ) from error


class Held:
    """The bytes of one request that are in memory."""

    def __init__(self, budget: ByteBudget, limit: int) -> None:
        self._budget = budget
        self._limit = limit
        self._size = 0

    def refuse_declared(self, length: str | None) -> None:
        """Refuse at once what says that it is too large."""
        if length is not None and length.isdigit() and int(length) > self._limit:
            raise self._too_large()

    def more(self, size: int) -> None:
        """Hold `size` more bytes; TooLargeError beyond the request's limit, OverloadedError beyond the service's."""
        if self._size + size > self._limit:
            raise self._too_large()
        self._budget.take(size)
        self._size += size

    async def counted(self, request: Request) -> AsyncIterator[bytes]:
        """The body's pieces, each counted before it is kept."""
        try:
            async for piece in request.stream():
                self.more(len(piece))
                yield piece
        except ClientDisconnect:
            raise InvalidInputError("The connection ended before the whole request was here.") from None

    def instead(self, size: int) -> None:
        """The body was unpacked: now `size` bytes of it are held, which takes room anew (OverloadedError)."""
        self.give_back()
        self._budget.take(size)
        self._size = size

    def give_back(self) -> None:
        """The request is answered."""
        self._budget.give_back(self._size)
        self._size = 0

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"A request may have {self._limit / 2**20:g} MiB at most. Send the images in several requests."
        )
