"""Bytes to pixels: the one decoder, used at import, in training and in serving."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aimic.errors import UnreadableImageError
from aimic.imaging.colour import needs_conversion
from aimic.imaging.containers import jpeg_is_whole
from aimic.imaging.limits import DEFAULT_LIMITS, Limits, check_bytes
from aimic.imaging.pillow import open_image, orientation_of, read_with_pillow
from aimic.imaging.raster import Raster, finished, rgb_8_bit
from aimic.imaging.sniff import MediaType, sniff


@dataclass(frozen=True)
class Decoded:
    """A picture as everything downstream sees it, and what its file said about itself."""

    pixels: NDArray[np.uint8]
    """[height, width, 3], sRGB, upright, laid on white where it was transparent; C-contiguous."""
    width: int
    height: int
    media_type: MediaType
    bit_depth: int
    """Bits per sample as the file declares them (1 to 16)."""
    encoder: str
    """The encoder's settings in words, such as `jpeg q≈92 4:2:0` or `png 8-bit rgb`."""
    mode: str
    """How the file held its colours: grey, palette, rgb, cmyk; with `+alpha` where there is alpha."""


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Decode one JPEG, PNG, BMP, TIFF, WebP or GIF (first frame or page) to 8-bit sRGB.

    Profiles are applied, EXIF orientation too; 16 bits are scaled by the declared depth; gamma chunks
    of PNG are ignored, as browsers' users expect of untagged pictures. Raises UnreadableImageError with
    a reason in plain words for anything that isn't a whole picture within `limits`.
    """
    media_type = sniff(data)
    raster = read(data, media_type, limits)
    try:
        pixels = rgb_8_bit(finished(raster))
    except MemoryError as error:
        raise UnreadableImageError("The picture needs more memory than one image may use.") from error
    height, width = pixels.shape[:2]
    return Decoded(pixels, width, height, media_type, raster.bit_depth, raster.encoder, raster.mode)


def plain_jpeg(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Image.Image | None:
    """The picture of the usual JPEG, RGB in sRGB and upright, without a copy on the way; None for any other file.

    Its pixels are those of `decode`, bit for bit. What `decode` would refuse is None as well.
    """
    if not data.startswith(b"\xff\xd8\xff") or len(data) > limits.max_bytes:
        return None
    try:
        image = open_image(data, MediaType.JPEG, limits)
        if (
            image.mode != "RGB"
            or needs_conversion(image.info.get("icc_profile"), "RGB")
            or orientation_of(image) != 1
            or not jpeg_is_whole(data)
        ):
            return None
        image.load()
    except Exception:  # whatever it is, `decode` finds the words for it
        return None
    return image


def read(data: bytes, media_type: MediaType, limits: Limits = DEFAULT_LIMITS) -> Raster:
    """The samples of a picture as its file holds them, before colour management. Errors as `decode`."""
    check_bytes(len(data), limits)
    with translated(media_type):
        if media_type is MediaType.TIFF:
            # tifffile is loaded for those who bring TIFFs only.
            from aimic.imaging.tiff import read_tiff

            return read_tiff(data, limits)
        return read_with_pillow(data, media_type, limits)


@contextmanager
def translated(media_type: MediaType) -> Iterator[None]:
    """Turn whatever a codec raises into an UnreadableImageError in plain words."""
    try:
        yield
    except UnreadableImageError:
        raise
    except MemoryError as error:
        raise UnreadableImageError("The picture needs more memory than one image may use.") from error
    except Exception as error:
        # A codec meets damaged bytes with any exception whatever; each of them means the same to the person.
        raise UnreadableImageError(_damage(media_type, error)) from error


_RARE = ("unsupported", "not supported", "not implemented", "cannot handle", "requires the")
_CUT = ("truncated", "too small", "unexpected end", "end of file", "eof", "cut off")


def _damage(media_type: MediaType, error: Exception) -> str:
    name = media_type.name if media_type is not MediaType.WEBP else "WebP"
    words = str(error).lower()
    if any(sign in words for sign in _RARE):
        return f"The {name} file is of a rare kind that is not read here. Please save it again as an 8-bit PNG or TIFF."
    if any(sign in words for sign in _CUT):
        return f"The {name} file is cut off: its picture data ends too early. Please copy it again from its source."
    return f"The {name} file is damaged and can't be decoded. Please copy it again from its source."
