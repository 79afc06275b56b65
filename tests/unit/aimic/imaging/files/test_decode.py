"""Every kind of file becomes the pixels that it means, and a file that is not whole is refused."""

import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aimic.errors import UnreadableImageError
from aimic.imaging.decode import decode
from aimic.imaging.limits import Limits


def test_every_kind_decodes_to_rgb(picture: Any) -> None:
    decoded = decode(picture.data)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (decoded.height, decoded.width, 3)
    assert decoded.pixels.flags.c_contiguous
    if picture.pixels is not None:
        np.testing.assert_array_equal(decoded.pixels, picture.pixels)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_that_of_exif(turn: int, make: Any, pictures: dict[str, Any]) -> None:
    upright = decode(pictures["jpeg all segments"].data).pixels
    name = "jpeg all segments" if turn == 1 else f"jpeg orientation {turn}"
    there = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    expected = Image.fromarray(upright)
    if turn in there:
        expected = expected.transpose(Image.Transpose(there[turn]))
    np.testing.assert_array_equal(decode(pictures[name].data).pixels, np.asarray(expected))


def test_inks_of_a_photoshop_jpeg_are_not_inverted(pictures: dict[str, Any]) -> None:
    pixels = decode(pictures["jpeg cmyk"].data).pixels.astype(int)
    assert abs(pixels - pictures["png rgb"].pixels).mean() < 3


def test_profiles_change_colours_and_broken_ones_do_not(pictures: dict[str, Any]) -> None:
    plain = decode(pictures["jpeg all segments"].data).pixels
    np.testing.assert_array_equal(decode(pictures["jpeg broken profile"].data).pixels, plain)
    np.testing.assert_array_equal(decode(pictures["jpeg srgb profile"].data).pixels, plain)
    assert abs(decode(pictures["jpeg wide profile"].data).pixels.astype(int) - plain).max() > 20


def test_wide_colours_are_those_of_the_formula(pictures: dict[str, Any]) -> None:
    """Adobe RGB (1998) to sRGB (IEC 61966-2-1) by hand, where the result is inside sRGB."""
    wide = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])
    narrow = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    linear = (pictures["png rgb"].pixels / 255) ** 2.19921875 @ (np.linalg.inv(narrow) @ wide).T
    inside = ((linear > 0.01) & (linear < 0.99)).all(axis=-1)
    expected = 255 * (1.055 * np.clip(linear, 0, 1) ** (1 / 2.4) - 0.055)
    got = decode(pictures["png wide profile"].data).pixels
    assert inside.sum() > 50
    assert abs(got - expected)[inside].max() < 2.5


def test_clear_parts_become_white(pictures: dict[str, Any]) -> None:
    for name in ("png rgb, one clear", "png grey, one clear", "png 16-bit clear", "gif one clear", "webp alpha"):
        assert (decode(pictures[name].data).pixels.min(axis=2) == 255).any(), name


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.97])
def test_a_cut_file_is_refused_and_not_filled_with_grey(picture: Any, share: float) -> None:
    whole = decode(picture.data).pixels
    try:
        pixels = decode(picture.data[: int(len(picture.data) * share)]).pixels
    except UnreadableImageError as error:
        assert error.message.endswith((".", "!"))
    else:
        # Only what follows the picture (a second frame, a note) was cut.
        np.testing.assert_array_equal(pixels, whole)


def test_a_cut_file_says_so(pictures: dict[str, Any]) -> None:
    for name in ("jpeg rgb", "png rgb", "bmp 24-bit", "tiff 8-bit rgb", "webp plain", "gif"):
        data = pictures[name].data
        with pytest.raises(UnreadableImageError, match=r"cut off|damaged"):
            decode(data[: len(data) * 2 // 3])


@pytest.mark.parametrize("cut", [1, 12, 20])
def test_a_few_missing_bytes_are_a_cut(cut: int, pictures: dict[str, Any]) -> None:
    """Pillow would accept a PNG without its last chunk, although its last rows were never checked."""
    with pytest.raises(UnreadableImageError, match="cut off"):
        decode(pictures["png rgb"].data[:-cut])


def test_rare_kinds_are_told_from_damage(pictures: dict[str, Any]) -> None:
    data = bytearray(pictures["jpeg rgb"].data)
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(UnreadableImageError, match="rare kind"):
        decode(bytes(data))


def test_a_tail_of_zeros_is_a_cut(pictures: dict[str, Any]) -> None:
    """What a broken memory card leaves: the right length, and nothing in the second half."""
    for name in ("jpeg rgb", "jpeg progressive 4:2:2", "png rgb", "tiff 16-bit rgb lzw", "webp lossy", "gif"):
        data = pictures[name].data
        half = len(data) * 4 // 5
        with pytest.raises(UnreadableImageError):
            decode(data[:half] + bytes(len(data) - half))


def test_damage_never_raises_anything_else(picture: Any) -> None:
    random = np.random.default_rng(zlib.crc32(picture.name.encode()))
    for _ in range(8):
        data = bytearray(picture.data)
        for position in random.integers(8, len(data), 6):
            data[position] = int(random.integers(0, 256))
        try:
            decode(bytes(data), Limits(max_pixels=10**6))
        except UnreadableImageError:
            pass


def _png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    row = zlib.compress(bytes(1000))
    idat = struct.pack(">I", len(row)) + b"IDAT" + row + struct.pack(">I", zlib.crc32(b"IDAT" + row))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + idat


def _webp_header(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + sides + bytes(40)


def _bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("header", [_png_header, _webp_header, _bmp_header])
def test_a_bomb_is_refused_before_it_takes_memory(header: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImageError, match=r"million"):
            decode(header(16_000, 16_000))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_limits_are_said_in_numbers(pictures: dict[str, Any]) -> None:
    data = pictures["jpeg rgb"].data
    with pytest.raises(UnreadableImageError, match="no side may be longer than 20"):
        decode(data, Limits(max_side=20))
    with pytest.raises(UnreadableImageError, match="MiB"):
        decode(data, Limits(max_bytes=100))
    with pytest.raises(UnreadableImageError, match="million"):
        decode(data, Limits(max_pixels=100))
