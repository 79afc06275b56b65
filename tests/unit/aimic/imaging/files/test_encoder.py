"""The encoder's settings are read from the file, so that a class with its own camera shows."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from aimic.imaging.decode import decode

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8))


@pytest.mark.parametrize("quality", [1, 10, 25, 50, 75, 85, 92, 95, 99, 100])
def test_the_quality_of_a_jpeg_is_found_again(quality: int, make: Any) -> None:
    assert decode(make(NOISE, "jpeg", quality=quality)).encoder == f"jpeg q≈{quality} 4:2:0"


@pytest.mark.parametrize(("subsampling", "words"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_the_sampling_of_a_jpeg_is_named(subsampling: int, words: str, make: Any) -> None:
    data = make(NOISE, "jpeg", quality=90, subsampling=subsampling, progressive=True)
    assert decode(data).encoder == f"jpeg q≈90 {words} progressive"


@pytest.mark.parametrize(
    ("name", "words", "mode"),
    [
        ("jpeg grey", "jpeg q≈75 grey", "grey"),
        ("jpeg cmyk", "jpeg q≈75 cmyk", "cmyk"),
        ("png 16-bit rgb", "png 16-bit rgb", "rgb"),
        ("png 16-bit grey+alpha, profile", "png 16-bit grey+alpha", "grey+alpha"),
        ("png palette, one clear", "png 4-bit palette", "palette+alpha"),
        ("bmp rle", "bmp 8-bit rle", "grey"),
        ("bmp old header", "bmp 24-bit", "rgb"),
        ("tiff 16-bit rgb lzw", "tiff lzw 16-bit rgb", "rgb"),
        ("tiff tiled", "tiff adobe_deflate 8-bit rgb tiled", "rgb"),
        ("tiff 12 bits packed", "tiff none 12-bit grey", "grey"),
        ("webp lossy", "webp lossy", "rgb"),
        ("webp animated", "webp lossless animated", "rgb"),
        ("gif", "gif", "palette"),
    ],
)
def test_settings_are_said_in_words(name: str, words: str, mode: str, pictures: dict[str, Any]) -> None:
    decoded = decode(pictures[name].data)
    assert (decoded.encoder, decoded.mode) == (words, mode)
