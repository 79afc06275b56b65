"""PNG in its kinds, with what decoding must give."""

import struct
import zlib

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.unit.aimic.imaging.files.drawing import (
    CANARY,
    HEIGHT,
    WIDTH,
    Kinds,
    Picture,
    Pixels,
    as_rgb,
    exif,
    from_16,
    grey,
    grey_16,
    rgb,
    rgb_16,
    saved,
)
from tests.unit.aimic.imaging.files.profiles import grey_profile, srgb_profile, wide_profile


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_16(values: NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG, which Pillow can't write in RGB."""
    return bytes(imagecodecs.png_encode(values))


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with more chunks after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def words_of_png() -> bytes:
    """Every ancillary chunk in which words can stand."""
    word = CANARY.encode()
    text = chunk(b"tEXt", b"Comment\0" + word) + chunk(b"iTXt", b"Author\0\0\0\0\0" + word)
    text += chunk(b"zTXt", b"Title\0\0" + zlib.compress(word)) + chunk(
        b"tIME", struct.pack(">H5B", 2020, 1, 2, 3, 4, 5)
    )
    return (
        text
        + chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))
        + chunk(b"prVt", word)
        + chunk(b"gAMA", b"\0\0\xb1\x8f")
    )


def pngs() -> dict[str, Picture]:
    """PNG in its kinds, with what decoding must give."""
    made, words = _plain() | _deep() | _profiled(), words_of_png()
    return {f"png {name}": Picture(f"png {name}", with_chunks(data, words), out) for name, (data, out) in made.items()}


def _alpha() -> Pixels:
    return np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, WIDTH))


def _plain() -> Kinds:
    image, alpha = Image.fromarray(rgb()), _alpha()
    rgba = np.dstack([rgb(), alpha])
    white = np.round((rgb() * (alpha / 255)[..., None]) + (255 - alpha.astype(float))[..., None]).astype(np.uint8)
    palette = image.quantize(16)
    bits = image.convert("1")
    return {
        "rgb": (saved(image, "png"), rgb()),
        "grey": (saved(Image.fromarray(grey()), "png"), as_rgb(grey())),
        "1-bit": (saved(bits, "png"), np.asarray(bits.convert("RGB"))),
        "palette": (saved(palette, "png"), np.asarray(palette.convert("RGB"))),
        "palette, one clear": (saved(palette, "png", transparency=3), None),
        "palette, half clear": (saved(palette, "png", transparency=bytes(range(0, 256, 16))), None),
        "rgb, one clear": (saved(image, "png", transparency=(0, 0, 255)), None),
        "grey, one clear": (saved(Image.fromarray(grey()), "png", transparency=200), None),
        "rgba": (saved(Image.fromarray(rgba), "png"), white),
        "grey+alpha": (saved(Image.fromarray(rgba).convert("LA"), "png"), None),
        "1-bit, one clear": (saved(bits, "png", transparency=0), np.full((HEIGHT, WIDTH, 3), 255, np.uint8)),
        "turned": (saved(image, "png", exif=exif(8)), np.rot90(rgb())),
        "animated": (saved(image, "png", save_all=True, append_images=[image.rotate(180)]), rgb()),
    }


def _deep() -> Kinds:
    alpha = _alpha().astype(np.uint16) * 257
    return {
        "16-bit grey": (png_16(grey_16()), as_rgb(from_16(grey_16()))),
        "16-bit rgb": (png_16(rgb_16()), from_16(rgb_16())),
        "16-bit rgba": (png_16(np.dstack([rgb_16(), alpha])), None),
        "16-bit grey+alpha, profile": (
            with_chunks(png_16(np.dstack([grey_16(), alpha])), _iccp(grey_profile())),
            None,
        ),
        "16-bit clear": (with_chunks(png_16(grey_16()), chunk(b"tRNS", b"\x03\x09")), None),
        "16-bit wide profile": (with_chunks(png_16(rgb_16()), _iccp(wide_profile())), None),
        "16-bit turned": (with_chunks(png_16(rgb_16()), chunk(b"eXIf", exif(6)[6:])), None),
    }


def _profiled() -> Kinds:
    image = Image.fromarray(rgb())
    rgba, palette = Image.fromarray(np.dstack([rgb(), _alpha()])), image.quantize(16)
    return {
        "grey, one clear, profile": (
            saved(Image.fromarray(grey()), "png", transparency=200, icc_profile=grey_profile()),
            None,
        ),
        "srgb profile": (saved(image, "png", icc_profile=srgb_profile()), rgb()),
        "wide profile": (saved(image, "png", icc_profile=wide_profile()), None),
        "wide profile, rgba": (saved(rgba, "png", icc_profile=wide_profile()), None),
        "wide profile, palette": (saved(palette, "png", icc_profile=wide_profile()), None),
        "grey profile": (saved(image.convert("L"), "png", icc_profile=grey_profile()), None),
    }


def _iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile))
