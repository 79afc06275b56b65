"""What is stored has the same pixels and no words."""

from typing import Any

import numpy as np
import pytest

from aimic.errors import UnreadableImageError
from aimic.imaging.decode import decode
from aimic.imaging.sniff import MediaType
from aimic.imaging.strip import encode_png, strip


def test_pixels_stay_exactly_the_same(picture: Any) -> None:
    np.testing.assert_array_equal(decode(strip(picture.data).data).pixels, decode(picture.data).pixels)


def test_no_words_are_left(picture: Any, canary: bytes) -> None:
    stored = strip(picture.data).data
    for part in (canary[:6], canary[:6].decode().encode("utf-16-le"), canary[:6].decode().encode("utf-16-be")):
        assert part not in stored


def test_stripping_twice_changes_nothing(picture: Any) -> None:
    stored = strip(picture.data)
    again = strip(stored.data)
    assert again.data == stored.data
    assert again.media_type is stored.media_type
    assert stored.extension == stored.media_type.extension


def test_the_coded_pixels_of_a_jpeg_are_not_touched(pictures: dict[str, Any]) -> None:
    for name in ("jpeg rgb", "jpeg progressive 4:2:2", "jpeg cmyk", "jpeg orientation 6", "jpeg restart markers"):
        data, stored = pictures[name].data, strip(pictures[name].data)
        assert stored.media_type is MediaType.JPEG
        scan = data[data.rindex(b"\xff\xda") :]
        assert stored.data.endswith(scan), name


def test_a_clean_file_stays_the_same_to_the_byte(pictures: dict[str, Any], make: Any) -> None:
    from PIL import Image

    clean = pictures["bmp 24-bit"].data
    assert strip(clean).data == clean
    jpeg = make(Image.fromarray(pictures["png rgb"].pixels), "jpeg")
    assert strip(jpeg).data == jpeg


def test_colours_that_need_a_profile_are_stored_as_png(pictures: dict[str, Any]) -> None:
    for name in ("jpeg wide profile", "jpeg ink profile", "jpeg grey profile", "tiff 8-bit rgb", "gif", "webp lossy"):
        stored = strip(pictures[name].data)
        assert stored.media_type is MediaType.PNG, name
        assert stored.encoder is not None
        assert stored.encoder.split()[0] == name.split()[0]


def test_an_oddly_made_jpeg_is_stored_as_png(pictures: dict[str, Any]) -> None:
    data = pictures["jpeg rgb"].data
    start = data.index(b"\xff\xdb")
    odd = data[:start] + b"stray bytes" + data[start:]
    stored = strip(odd)
    assert stored.media_type is MediaType.PNG
    np.testing.assert_array_equal(decode(stored.data).pixels, decode(data).pixels)


def test_sixteen_bits_stay_sixteen(pictures: dict[str, Any]) -> None:
    for name in ("tiff 16-bit rgb", "tiff 16-bit grey", "tiff 12 of 16, by maximum", "png 16-bit rgb"):
        stored = strip(pictures[name].data)
        assert decode(stored.data).bit_depth == 16, name
    assert strip(pictures["tiff 12 of 16, by maximum"].data).bit_depth == 12


def test_all_sixteen_bit_values_survive_storage() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    pixels = decode(encode_png(values)).pixels[..., 0]
    np.testing.assert_array_equal(pixels, np.floor(values[..., 0] / 257 + 0.5).astype(np.uint8))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_what_is_cut_is_refused_here_or_at_decoding(picture: Any, share: float) -> None:
    whole = decode(picture.data).pixels
    try:
        stored = strip(picture.data[: int(len(picture.data) * share)])
        np.testing.assert_array_equal(decode(stored.data).pixels, whole)
    except UnreadableImageError:
        pass
