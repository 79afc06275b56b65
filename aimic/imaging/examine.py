"""Everything that an import wants to know of one file, and the form in which it is stored."""

import hashlib
from dataclasses import dataclass

from aimic.imaging.decode import decode
from aimic.imaging.features import Features, features
from aimic.imaging.limits import DEFAULT_LIMITS, Limits
from aimic.imaging.sniff import MediaType, sniff
from aimic.imaging.strip import strip


@dataclass(frozen=True)
class Examined:
    """One accepted image."""

    sha256: str
    """Hex SHA-256 of `data`: the sample's name."""
    data: bytes
    """The stored form: the picture without metadata."""
    media_type: MediaType
    """Of the stored form."""
    extension: str
    """Of the stored form, with its dot."""
    width: int
    """Pixels, upright."""
    height: int
    bit_depth: int
    """Bits per sample as the received file declared them."""
    encoder: str
    """Settings of the received file's encoder in words, such as `jpeg q≈92 4:2:0`."""
    source_media_type: MediaType
    """Of the received file."""
    features: Features


def examine(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Examined:
    """Strip, decode the stored form (so that what is kept is known to be good) and take its features.

    UnreadableImageError with a reason when the file can't be used. Call it by `Sandbox` for files from outside.
    """
    stripped = strip(data, limits)
    decoded = decode(stripped.data, limits)
    return Examined(
        sha256=hashlib.sha256(stripped.data).hexdigest(),
        data=stripped.data,
        media_type=stripped.media_type,
        extension=stripped.extension,
        width=decoded.width,
        height=decoded.height,
        bit_depth=stripped.bit_depth or decoded.bit_depth,
        encoder=stripped.encoder or decoded.encoder,
        source_media_type=sniff(data),
        features=features(decoded),
    )
