"""Content-Encoding, both ways: gzip and deflate, as clients of the protocol use them."""

import gzip
import zlib

from aimic.errors import InvalidInputError, TooLargeError

WORTH_IT = 1024
"""Bytes of a body below which it is sent as it is."""
_PIECE = 65536


def unpacked(body: bytes, encoding: str, limit: int) -> bytes:
    """The body before its Content-Encoding, of `limit` bytes at most.

    TooLargeError as soon as there are more, however small they were packed. InvalidInputError for another encoding
    or a damaged body.
    """
    inflater = _inflater(encoding, body)
    pieces, size = [], 0
    try:
        for start in range(0, len(body), _PIECE):
            rest = body[start : start + _PIECE]
            if inflater.eof:
                raise _not_whole(encoding)
            while rest and not inflater.eof:
                pieces.append(inflater.decompress(rest, limit - size + 1))
                size += len(pieces[-1])
                rest = inflater.unconsumed_tail
                if size > limit:
                    raise TooLargeError(f"Unpacked, this request has more than {limit / 2**20:g} MiB; it was not read.")
    except zlib.error:
        raise InvalidInputError(f"The body is not what its Content-Encoding, {encoding}, says.") from None
    if not inflater.eof or inflater.unused_data:
        raise _not_whole(encoding)
    return b"".join(pieces)


def accepted(header: str) -> str | None:
    """The encoding to answer in, by the request's Accept-Encoding (RFC 9110 §12.5.3); None: as it is."""
    wanted = {}
    for part in header.lower().split(","):
        name, _, weight = part.partition(";")
        wanted[name.strip()] = weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return next((encoding for encoding in ("gzip", "deflate") if wanted.get(encoding)), None)


def packed(body: bytes, encoding: str) -> bytes:
    """The body in `encoding`, one that `accepted` gave."""
    return gzip.compress(body, 1, mtime=0) if encoding == "gzip" else zlib.compress(body, 1)


def _not_whole(encoding: str) -> InvalidInputError:
    return InvalidInputError(f"The body is not one whole {encoding} stream.")


def _inflater(encoding: str, body: bytes) -> "zlib._Decompress":
    if encoding in {"gzip", "x-gzip"}:
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    if encoding == "deflate":
        # The standard means zlib's form; some clients send the bare stream, which has no such header.
        return zlib.decompressobj(zlib.MAX_WBITS if _has_header(body) else -zlib.MAX_WBITS)
    raise InvalidInputError(f"A body in the encoding {encoding[:40]!r} is not taken; gzip, deflate or none are.")


def _has_header(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 15 == 8 and (body[0] * 256 + body[1]) % 31 == 0
