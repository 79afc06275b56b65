"""TIFF in its kinds, with what decoding must give."""

import io
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.unit.aimic.imaging.files.drawing import (
    CANARY,
    Kinds,
    Picture,
    Pixels,
    as_rgb,
    from_16,
    grey,
    grey_16,
    rgb,
    rgb_16,
    saved,
)
from tests.unit.aimic.imaging.files.profiles import wide_profile


def tiff(array: NDArray[Any], description: str = CANARY, **options: Any) -> bytes:
    """A TIFF by tifffile, with words in its description."""
    file = io.BytesIO()
    tifffile.imwrite(file, array, description=description, metadata=None, **options)
    return file.getvalue()


def tiffs() -> dict[str, Picture]:
    """TIFF in its kinds, with what decoding must give."""
    made = _grey() | _rgb() | _unusual()
    return {f"tiff {name}": Picture(f"tiff {name}", data, out) for name, (data, out) in made.items()}


def _grey() -> Kinds:
    twelve = (grey().astype(np.uint16) * 10 + 7).astype(np.uint16)
    from_12 = as_rgb(np.floor(np.floor(twelve / 4095 * 65535 + 0.5) / 65535 * 255 + 0.5))
    ome = f'<OME SignificantBits="12">{CANARY}</OME>'
    return {
        "8-bit grey": (tiff(grey(), photometric="minisblack"), as_rgb(grey())),
        "white is zero": (tiff(grey(), photometric="miniswhite"), as_rgb(255 - grey())),
        "1-bit": (tiff(grey() > 100, photometric="minisblack"), as_rgb((grey() > 100) * 255)),
        "4-bit": (tiff(grey() >> 4, photometric="minisblack", bitspersample=4), as_rgb((grey() >> 4) * 17)),
        "16-bit grey": (tiff(grey_16(), photometric="minisblack"), as_rgb(from_16(grey_16()))),
        "16-bit big-endian": (tiff(grey_16(), photometric="minisblack", byteorder=">"), as_rgb(from_16(grey_16()))),
        "12 bits packed": (tiff(twelve, photometric="minisblack", bitspersample=12), from_12),
        "12 of 16, by maximum": (tiff(twelve, photometric="minisblack", extratags=[(281, 3, 1, 4095, True)]), from_12),
        "12 of 16, by OME": (tiff(twelve, ome, photometric="minisblack"), from_12),
        "own maximum": (
            tiff(grey_16(), photometric="minisblack", extratags=[(281, 3, 1, int(grey_16().max()), True)]),
            as_rgb(from_16(grey_16())),
        ),
        "group 4": (saved(Image.fromarray(grey()).convert("1"), "tiff", compression="group4"), None),
    }


def _rgb() -> Kinds:
    colour: dict[str, Any] = {"photometric": "rgb"}
    return {
        "8-bit rgb": (tiff(rgb(), **colour), rgb()),
        "16-bit rgb": (tiff(rgb_16(), **colour), from_16(rgb_16())),
        "16-bit rgb lzw": (tiff(rgb_16(), compression="lzw", predictor=True, **colour), from_16(rgb_16())),
        "16-bit rgb deflate": (tiff(rgb_16(), compression="zlib", rowsperstrip=4, **colour), from_16(rgb_16())),
        "planar": (tiff(np.moveaxis(rgb_16(), 2, 0), planarconfig="separate", **colour), from_16(rgb_16())),
        "planar, strips": (
            tiff(np.moveaxis(rgb(), 2, 0), planarconfig="separate", compression="lzw", rowsperstrip=5, **colour),
            rgb(),
        ),
        "tiled": (tiff(rgb(), tile=(16, 16), compression="zlib", **colour), rgb()),
        "big": (tiff(rgb(), bigtiff=True, **colour), rgb()),
        "packbits": (tiff(rgb(), compression="packbits", **colour), rgb()),
        "zstd": (tiff(rgb(), compression="zstd", **colour), rgb()),
        "wide profile": (tiff(rgb(), iccprofile=wide_profile(), **colour), None),
        "turned": (tiff(rgb(), extratags=[(274, 3, 1, 6, True)], **colour), np.rot90(rgb(), -1)),
        "two pages": (_two_pages(), rgb()),
    }


def _unusual() -> Kinds:
    """Colours that are neither grey nor plain RGB."""
    colour: dict[str, Any] = {"photometric": "rgb"}
    table = np.stack([np.arange(256) * 257] * 3).astype(np.uint16)
    table[1] = table[1][::-1]
    looked = (table >> 8).astype(np.uint8).T[grey()]
    half = np.full_like(grey(), 128)
    over = np.round(rgb() * (128 / 255) + 127).astype(np.uint8)
    return {
        "jpeg inside": (tiff(rgb(), compression="jpeg", **colour), None),
        "ycbcr jpeg inside": (
            tiff(rgb(), compression="jpeg", compressionargs={"outcolorspace": "ycbcr"}, **colour),
            None,
        ),
        "ycbcr": (saved(Image.fromarray(rgb()).convert("YCbCr"), "tiff"), _through_ycbcr()),
        "palette": (tiff(grey(), photometric="palette", colormap=table), looked),
        "rgba": (tiff(np.dstack([rgb(), half]), extrasamples=["unassalpha"], **colour), over),
        "grey+alpha": (
            tiff(
                np.dstack([grey(), half]), photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig"
            ),
            None,
        ),
        "multiplied alpha": (
            tiff(np.dstack([rgb() // 2, half]), extrasamples=["assocalpha"], **colour),
            rgb() // 2 + 127,
        ),
        "cmyk": (saved(Image.fromarray(rgb()).convert("CMYK"), "tiff"), rgb()),
    }


def _through_ycbcr() -> Pixels:
    return np.asarray(Image.fromarray(rgb()).convert("YCbCr").convert("RGB"))


def _two_pages() -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(rgb(), photometric="rgb", description=CANARY, metadata=None)
        writer.write(grey(), photometric="minisblack", metadata=None)
    return file.getvalue()
