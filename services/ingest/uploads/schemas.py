"""The wire of tus 1.0.0 (https://tus.io/protocols/resumable-upload): headers in, headers out."""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Protocol

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from aimic.errors import InvalidInputError
from services.ingest.uploads.exchange import VERSION
from services.ingest.uploads.service import Live

EXTENSIONS = "creation,checksum,expiration,termination"
ALGORITHMS = {"sha256": hashlib.sha256, "sha1": lambda: hashlib.sha1(usedforsecurity=False)}
_MAX_METADATA = 4096
_MAX_TEXT = 255


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: bytes, /) -> None:
        """Take more."""

    def digest(self) -> bytes:
        """The hash so far."""


@dataclass
class Checksum:
    """What the client says a PATCH's body hashes to."""

    digest: Digest
    expected: bytes

    def holds(self) -> bool:
        """Whether what came is what was meant."""
        return self.digest.digest() == self.expected


def number(headers: Headers, name: str) -> int:
    """A non-negative integer header; InvalidInputError when it is missing or none."""
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidInputError(f"The header {name} must be a whole number of bytes.")
    return int(text)


def metadata(headers: Headers) -> dict[str, str]:
    """Upload-Metadata as a mapping; values are UTF-8 in base64, keys come once."""
    text = headers.get("upload-metadata", "")
    if len(text) > _MAX_METADATA:
        raise InvalidInputError("The header Upload-Metadata is too long.")
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            decoded = base64.b64decode(value.strip(), validate=True).decode(errors="replace")
        except binascii.Error as error:
            raise InvalidInputError(f"Upload-Metadata {key[:50]!r} is not base64.") from error
        if len(decoded) > _MAX_TEXT:
            raise InvalidInputError(f"Upload-Metadata {key[:50]!r} is longer than {_MAX_TEXT} characters.")
        if key in found:
            raise InvalidInputError(f"Upload-Metadata {key[:50]!r} comes twice.")
        found[key] = decoded
    return found


def checksum(headers: Headers) -> Checksum | None:
    """Upload-Checksum, if there is one; 400 for an algorithm that we don't know, as tus has it."""
    text = headers.get("upload-checksum")
    if text is None:
        return None
    algorithm, _, value = text.partition(" ")
    try:
        expected = base64.b64decode(value.strip(), validate=True)
    except binascii.Error as error:
        raise InvalidInputError("The header Upload-Checksum is not base64.") from error
    if algorithm not in ALGORITHMS:
        raise HTTPException(400, f"Upload-Checksum takes {' or '.join(ALGORITHMS)}, not {algorithm[:20]!r}.")
    return Checksum(ALGORITHMS[algorithm](), expected)


def tus_headers(live: Live) -> dict[str, str]:
    """What every answer about an upload says."""
    return {
        "tus-resumable": VERSION,
        "upload-offset": str(live.upload.offset),
        "upload-length": str(live.upload.length),
        "upload-expires": format_datetime(live.expires_at, usegmt=True),
        "cache-control": "no-store",
    }
