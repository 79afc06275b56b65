"""The wire between the sandbox and its children: plain frames of bytes and JSON.

No pickle: a child that a crafted image has taken over must not be able to run code in its parent.
"""

import hashlib
import json
import struct
from dataclasses import asdict, replace
from typing import Any, BinaryIO

from aimic.errors import UnreadableImageError
from aimic.imaging.examine import Examined
from aimic.imaging.features import Features
from aimic.imaging.limits import MIB
from aimic.imaging.sniff import MediaType

HEADER = struct.Struct(">Q")
MAX_FRAME = 2048 * MIB
"""No answer is larger: 100 megapixels of 16-bit RGB are 600 MB."""
READY = b"ready"


def write_frame(stream: BinaryIO, *parts: bytes) -> None:
    """Write one frame: its length in 8 bytes, then `parts`."""
    stream.write(HEADER.pack(sum(map(len, parts))))
    for part in parts:
        stream.write(part)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame, or None when the other side is gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    body = stream.read(length)
    return body if len(body) == length else None


def packed(answer: Examined | UnreadableImageError, received: bytes) -> tuple[bytes, ...]:
    """The parts of an answer's frame: length of the JSON, the JSON, thumbnail, stored bytes (unless as received)."""
    if isinstance(answer, UnreadableImageError):
        facts: dict[str, Any] = {"refused": answer.message}
        return _joined(facts)
    facts = asdict(replace(answer, data=b""))
    del facts["data"]
    thumb = facts["features"].pop("thumb")
    facts["thumb"] = len(thumb)
    facts["same"] = answer.data == received
    return (*_joined(facts), thumb, b"" if facts["same"] else answer.data)


def _joined(facts: dict[str, Any]) -> tuple[bytes, bytes]:
    text = json.dumps(facts).encode()
    return HEADER.pack(len(text)), text


def unpacked(frame: bytes, received: bytes) -> Examined:
    """The answer in a frame; raises the UnreadableImageError that it holds. ValueError when it is none."""
    (length,) = HEADER.unpack_from(frame)
    end = HEADER.size + length
    facts = json.loads(frame[HEADER.size : end])
    if "refused" in facts:
        raise UnreadableImageError(str(facts["refused"])[:1000])
    thumb = end + int(facts.pop("thumb"))
    data = received if facts.pop("same") else frame[thumb:]
    described = facts.pop("features")
    described["border"] = tuple(described["border"])
    for name in ("media_type", "source_media_type"):
        facts[name] = MediaType(facts[name])
    # The name of what is stored is the one fact that is never taken from a child.
    if facts["sha256"] != hashlib.sha256(data).hexdigest():
        raise ValueError("the answer does not fit its bytes")
    return Examined(data=data, features=Features(thumb=frame[end:thumb], **described), **facts)
