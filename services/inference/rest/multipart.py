"""The parts of a multipart/form-data body (RFC 7578) that are images, kept in memory under limits."""

from python_multipart.multipart import MultipartParser, parse_options_header

from aimic.errors import InvalidInputError, TooLargeError
from services.inference.dataplane import EncodedImage

_HEADER_BYTES = 8192


class ImageParts:
    """Feed it the body piece by piece; it keeps no more of an image than tells that it is too large."""

    def __init__(self, boundary: bytes, field: str, image_bytes: int, most: int) -> None:
        if not boundary or len(boundary) > 200:
            raise InvalidInputError("The multipart body's content type names no usable boundary.")
        self._field = field
        self._image_bytes = image_bytes
        self._most = most
        self._images: list[EncodedImage] = []
        self._ended = False
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._data = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value_,
                "on_header_end": self._header_end,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """The next bytes of the body; MultipartParseError when they make no sense."""
        self._parser.write(piece)

    def finish(self) -> list[EncodedImage]:
        """The images; InvalidInputError when the body stopped in the middle."""
        self._parser.finalize()
        if not self._ended:
            raise InvalidInputError("The multipart body stops before its end; nothing in it was looked at.")
        return self._images

    def _part_begin(self) -> None:
        self._headers = {}
        self._data = bytearray()
        if len(self._images) >= self._most:
            raise TooLargeError(f"At most {self._most} images are taken in one request. Send them in several requests.")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._bound()

    def _header_value_(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._bound()

    def _bound(self) -> None:
        known = sum(len(name) + len(value) for name, value in self._headers.items())
        if known + len(self._header_name) + len(self._header_value) > _HEADER_BYTES:
            raise InvalidInputError("A part of the multipart body has headers beyond all measure.")

    def _header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        # One byte more than allowed is kept, so that the data plane refuses this image and no other.
        room = self._image_bytes + 1 - len(self._data)
        self._data += data[start : min(end, start + room)]

    def _part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != self._field:
            raise InvalidInputError(f"A part of the body is named {field!r}; images go in parts named {self._field!r}.")
        name = options.get(b"filename", b"").decode("utf-8", "replace")[:255]
        self._images.append(EncodedImage(bytes(self._data), name or None))

    def _end(self) -> None:
        self._ended = True
