"""What is stored of an image: its pixels without anything else that the file says.

JPEG, PNG and BMP are rewritten as containers: the coded pixels are the same bytes as before. Where colours need
a profile, or the format hides too much (TIFF, GIF, WebP), the picture is stored as a lossless PNG in sRGB,
upright and without alpha; 16 bits stay 16 bits, but become 8 where a profile had to be applied.
`decode` gives exactly the same pixels before and after, and stripping twice changes nothing.
"""

from dataclasses import dataclass

import numpy as np

from aimic.errors import UnreadableImageError
from aimic.imaging import containers
from aimic.imaging.colour import needs_conversion
from aimic.imaging.decode import read, translated
from aimic.imaging.limits import DEFAULT_LIMITS, Limits, check_bytes
from aimic.imaging.pillow import open_image, orientation_of
from aimic.imaging.raster import Samples, finished
from aimic.imaging.sniff import MediaType, sniff


@dataclass(frozen=True)
class Stripped:
    """The stored form of an image."""

    data: bytes
    media_type: MediaType
    extension: str
    """With its dot."""
    encoder: str | None = None
    """How the received file was encoded, where that can't be seen in `data` any more."""
    bit_depth: int | None = None
    """Bits per sample that the received file declared, where that can't be seen in `data` any more."""


def strip(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Stripped:
    """Remove all metadata. UnreadableImageError for what `decode` refuses, though not all of it is decoded here."""
    media_type = sniff(data)
    check_bytes(len(data), limits)
    with translated(media_type):
        try:
            rewritten = _rewritten(data, media_type, limits)
        except containers.OddFileError:
            rewritten = None
    if rewritten is None:
        return _as_png(data, media_type, limits)
    return Stripped(rewritten, media_type, media_type.extension)


def _rewritten(data: bytes, media_type: MediaType, limits: Limits) -> bytes | None:
    """The same container with less in it, or None when that is not safe."""
    if media_type is MediaType.JPEG:
        return _jpeg(data, limits)
    if media_type is MediaType.PNG:
        return _png(data, limits)
    return containers.bmp(data) if media_type is MediaType.BMP else None


def _jpeg(data: bytes, limits: Limits) -> bytes | None:
    image = open_image(data, MediaType.JPEG, limits)
    if needs_conversion(image.info.get("icc_profile"), image.mode):
        return None
    return containers.jpeg(data, orientation_of(image))


def _png(data: bytes, limits: Limits) -> bytes | None:
    image = open_image(data, MediaType.PNG, limits)
    channels = "L" if data[25] in (0, 4) else "RGB"
    if needs_conversion(image.info.get("icc_profile"), channels):
        return None
    return containers.png(data, orientation_of(image) if containers.png_has_words(data) else 1)


def _as_png(data: bytes, media_type: MediaType, limits: Limits) -> Stripped:
    raster = read(data, media_type, limits)
    try:
        stored = encode_png(finished(raster))
    except MemoryError as error:
        raise UnreadableImageError("The picture needs more memory than one image may use.") from error
    return Stripped(stored, MediaType.PNG, MediaType.PNG.extension, raster.encoder, raster.bit_depth)


def encode_png(samples: Samples) -> bytes:
    """A PNG of [h, w, 1 or 3] samples, uint8 or uint16, without metadata."""
    import imagecodecs

    squeezed = samples[..., 0] if samples.shape[2] == 1 else samples
    return containers.png(bytes(imagecodecs.png_encode(np.ascontiguousarray(squeezed), level=6)))
