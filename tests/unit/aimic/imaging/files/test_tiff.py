"""What a TIFF declares, and what of TIFF is refused."""

import io
from typing import Any

import numpy as np
import pytest
import tifffile

from aimic.errors import UnreadableImageError
from aimic.imaging.decode import decode


def _tiff(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("array", "options", "word"),
    [
        (np.ones((8, 8), np.float32), {"photometric": "minisblack"}, "float"),
        (np.ones((8, 8), np.int16), {"photometric": "minisblack"}, "unusual"),
        (np.ones((8, 8), np.uint32), {"photometric": "minisblack"}, "32-bit"),
        (np.ones((8, 8, 5), np.uint8), {"photometric": "minisblack", "planarconfig": "contig"}, "channels"),
        (np.ones((8, 8), np.uint8), {"photometric": "minisblack", "compression": "lzma"}, "rare way"),
        (
            np.ones((4, 16, 16), np.uint8),
            {"photometric": "minisblack", "volumetric": True, "tile": (4, 16, 16)},
            "volume",
        ),
    ],
)
def test_refused_kinds_are_named(array: Any, options: dict[str, Any], word: str) -> None:
    with pytest.raises(UnreadableImageError, match=word):
        decode(_tiff(array, **options))


def test_the_scale_is_the_declared_depth_not_the_pictures_range() -> None:
    dim = np.full((8, 8), 4000, np.uint16)
    dim[0, 0] = 4100
    assert decode(_tiff(dim, photometric="minisblack")).pixels.max() == 16
    # A declaration of 12 bits that the samples contradict is not believed.
    lied = _tiff(dim, photometric="minisblack", extratags=[(281, 3, 1, 4095, True)])
    assert decode(lied).bit_depth == 16
    dim[0, 0] = 4095
    told = decode(_tiff(dim, photometric="minisblack", extratags=[(281, 3, 1, 4095, True)]))
    assert (told.bit_depth, told.pixels.max()) == (12, 255)


def test_a_missing_strip_is_refused() -> None:
    data = _tiff(np.ones((64, 64, 3), np.uint8), photometric="rgb", compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        tag = page.tags["StripByteCounts"]
    broken = bytearray(data)
    broken[tag.valueoffset : tag.valueoffset + 1] = b"\0"
    with pytest.raises(UnreadableImageError, match="cut off"):
        decode(bytes(broken))


@pytest.mark.parametrize(
    "options",
    [
        {"rowsperstrip": 5},
        {"rowsperstrip": 5, "planarconfig": "separate"},
        {"tile": (16, 16)},
        {"tile": (16, 16), "planarconfig": "separate", "predictor": True},
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_lzw_in_every_layout(options: dict[str, Any], kind: type) -> None:
    colours: Any = np.random.default_rng(0).integers(0, 256, (23, 31, 3)).astype(kind)
    arranged = np.moveaxis(colours, 2, 0) if "planarconfig" in options else colours
    decoded = decode(_tiff(arranged, photometric="rgb", compression="lzw", **options)).pixels
    expected = colours if kind is np.uint8 else np.floor(colours / 257 + 0.5)
    np.testing.assert_array_equal(decoded, expected)


def test_damaged_lzw_never_reaches_the_decoder_that_crashes() -> None:
    random = np.random.default_rng(0)
    whole = _tiff(random.integers(0, 4, (60, 60), np.uint8), photometric="minisblack", compression="lzw")
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        page = file.pages.first
        (start,), (count,) = page.dataoffsets, page.databytecounts
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        data[int(random.integers(start, start + count))] ^= int(random.integers(1, 256))
        try:
            decode(bytes(data))
        except UnreadableImageError:
            refused += 1
    assert refused > 20
