"""What is kept of an image."""

import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aimic.imaging.features import THUMB, Features, border_colours, features, pixel_sha256

Plain = Callable[[Any], Any]
Cell = Callable[[int], Any]


def bits_apart(first: Features, second: Features) -> int:
    return (int(first.phash, 16) ^ int(second.phash, 16)).bit_count()


class TestPixelIdentity:
    def test_it_is_of_the_pixels_and_of_their_shape(self) -> None:
        row = np.arange(24, dtype=np.uint8)
        assert pixel_sha256(row.reshape(2, 4, 3)) == pixel_sha256(row.copy().reshape(2, 4, 3))
        assert pixel_sha256(row.reshape(2, 4, 3)) != pixel_sha256(row.reshape(4, 2, 3))
        other = row.copy()
        other[7] ^= 1
        assert pixel_sha256(row.reshape(2, 4, 3)) != pixel_sha256(other.reshape(2, 4, 3))

    def test_a_view_counts_as_what_it_shows(self, cell: Cell) -> None:
        assert pixel_sha256(cell(0)[:, ::-1]) == pixel_sha256(cell(0)[:, ::-1].copy())


class TestPerceptualHash:
    def test_flips_turns_and_jpeg_change_two_bits_at_most(self, cell: Cell, plain: Plain) -> None:
        for seed in range(10):
            first = features(plain(cell(seed)))
            file = BytesIO()
            Image.fromarray(cell(seed)).save(file, "JPEG", quality=50)
            copies = [np.rot90(cell(seed), turn) for turn in range(1, 4)]
            copies += [cell(seed)[::-1], cell(seed)[:, ::-1], cell(seed).swapaxes(0, 1), np.asarray(Image.open(file))]
            assert max(bits_apart(first, features(plain(copy))) for copy in copies) <= 4

    def test_other_cells_are_far(self, cell: Cell, plain: Plain) -> None:
        made = [features(plain(cell(seed))) for seed in range(12)]
        assert min(bits_apart(a, b) for i, a in enumerate(made) for b in made[:i]) >= 8

    def test_it_is_sixteen_hex_characters(self, cell: Cell, plain: Plain) -> None:
        assert len(bytes.fromhex(features(plain(cell(1))).phash)) == 8


class TestBorder:
    def test_the_frame_counts_and_the_middle_does_not(self) -> None:
        pixels = np.zeros((100, 60, 3), np.uint8)
        pixels[5:-5, 3:-3] = 255
        pixels[:5, :, 0] = 200
        share = 5 * 60 / (100 * 60 - 90 * 54)
        colours = border_colours(pixels)
        assert colours[:3] == pytest.approx((200 * share, 0, 0), abs=1e-4)
        assert colours[3] == pytest.approx(200 * np.sqrt(share * (1 - share)), abs=1e-3)
        assert colours[4:] == (0, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 3), (500, 7)])
def test_any_size_has_features(shape: tuple[int, int], plain: Plain) -> None:
    made = features(plain(np.full((*shape, 3), 7, np.uint8)))
    assert made.thumb == bytes([7]) * THUMB * THUMB * 3
    assert made.border == pytest.approx((7, 7, 7, 0, 0, 0))


def test_what_is_no_picture_is_refused(plain: Plain) -> None:
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8 pixels"):
            features(plain(wrong))


def test_it_takes_about_a_millisecond(plain: Plain) -> None:
    picture = plain(np.random.default_rng(0).integers(0, 256, (363, 360, 3), np.uint8))
    features(picture)
    took = []
    for _ in range(20):
        start = time.process_time()
        features(picture)
        took.append(time.process_time() - start)
    # 0.9 ms on a free core of the build machine.
    assert min(took) < 0.006
