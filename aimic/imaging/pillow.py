"""JPEG, PNG, BMP, WebP and GIF by Pillow (16-bit PNG by imagecodecs, since Pillow cuts RGB to 8 bits)."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from aimic.errors import UnreadableImageError
from aimic.imaging.containers import JPEG_CUT, PNG_CUT, jpeg_is_whole, png_is_whole
from aimic.imaging.encoder import bmp_encoder, jpeg_encoder, png_encoder, webp_encoder
from aimic.imaging.limits import Limits, check_size
from aimic.imaging.raster import Raster, Samples
from aimic.imaging.sniff import MediaType

ORIENTATION = 0x0112

# The classes themselves: no registry of formats that nobody sniffed, no warning where the limits decide.
_FILES: dict[MediaType, type[Any]] = {
    MediaType.JPEG: JpegImagePlugin.JpegImageFile,
    MediaType.PNG: PngImagePlugin.PngImageFile,
    MediaType.BMP: BmpImagePlugin.BmpImageFile,
    MediaType.GIF: GifImagePlugin.GifImageFile,
    MediaType.WEBP: WebPImagePlugin.WebPImageFile,
}


def open_image(data: bytes, media_type: MediaType, limits: Limits) -> Image.Image:
    """Open by the header alone and check the size; the pixels are not decoded yet."""
    if media_type is MediaType.WEBP:
        # Pillow's WebP reader takes memory for the whole canvas when it opens.
        check_size(*webp_size(data), limits)
    image: Image.Image = _FILES[media_type](io.BytesIO(data))
    check_size(*image.size, limits)
    return image


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height from a WebP header (RFC 9649, section 2)."""
    if len(data) < 30:
        raise UnreadableImageError("The WebP file is cut off: its header is not complete.")
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return width & 0x3FFF, height & 0x3FFF
    raise UnreadableImageError("The WebP file is damaged: its header is not known.")


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an opened image, 1 to 8; 1 when there is none or the EXIF data is broken."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF is written by anyone, and a broken block must not cost the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def read_with_pillow(data: bytes, media_type: MediaType, limits: Limits) -> Raster:
    """The samples of a JPEG, PNG, BMP, WebP or GIF (first frame). Codec errors pass through."""
    image = open_image(data, media_type, limits)
    encoder, depth = _settings(image, data, media_type)
    icc = image.info.get("icc_profile")
    mode = _mode(image, data[25] if media_type is MediaType.PNG else None)
    if media_type is MediaType.JPEG and not jpeg_is_whole(data):
        raise UnreadableImageError(JPEG_CUT)
    if media_type is MediaType.PNG and not png_is_whole(data):
        raise UnreadableImageError(PNG_CUT)
    if media_type is MediaType.PNG and depth == 16:
        samples: Samples = _png_16(data)
    else:
        image.load()
        samples = _samples(image)
    return Raster(samples, depth, mode, encoder, icc, orientation_of(image), image.mode == "CMYK")


def _settings(image: Image.Image, data: bytes, media_type: MediaType) -> tuple[str, int]:
    if media_type is MediaType.JPEG:
        return jpeg_encoder(image), 8
    if media_type is MediaType.PNG:
        return png_encoder(data[:33])
    if media_type is MediaType.BMP:
        return bmp_encoder(data[:64])
    if media_type is MediaType.WEBP:
        return webp_encoder(data), 8
    return "gif", 8


def _mode(image: Image.Image, png_colours: int | None) -> str:
    kind = {"P": "palette", "CMYK": "cmyk"}.get(image.mode)
    if kind is None:
        # Pillow opens 16-bit grey with alpha as RGBA, so that a PNG's own word counts.
        grey = png_colours in (0, 4) or (png_colours is None and image.mode in ("1", "L"))
        kind = "grey" if grey else "rgb"
    return kind + "+alpha" if image.has_transparency_data else kind


def _samples(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "CMYK":
        return np.asarray(image)
    if image.has_transparency_data:
        return np.asarray(image.convert("LA" if image.mode in ("1", "L", "LA") else "RGBA"))
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[..., None]
    return np.asarray(image.convert("RGB"))


def _png_16(data: bytes) -> NDArray[np.uint16]:
    import imagecodecs

    samples: NDArray[np.uint16] = imagecodecs.png_decode(data)
    return samples if samples.ndim == 3 else samples[..., None]
