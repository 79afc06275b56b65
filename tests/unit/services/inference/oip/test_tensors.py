"""Input tensors: what is taken, in each form, and what is refused, with words that say why."""

import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from aimic.errors import InvalidInputError, TooLargeError
from services.inference.dataplane import DecodedImage, EncodedImage, Image
from services.inference.oip import tensors
from services.inference.oip.tensors import Declared


def behind_lengths(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def data_of(images: list[Image]) -> list[bytes]:
    return [image.data for image in images if isinstance(image, EncodedImage)]


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_image_files_come_as_bytes_in_both_shapes(shape: tuple[int, ...]) -> None:
    declared = Declared("images", "BYTES", shape)
    assert data_of(tensors.from_raw(declared, behind_lengths(b"one", b""), 5)) == [b"one", b""]
    assert data_of(tensors.from_elements(declared, [b"one", b""], 5)) == [b"one", b""]


def test_pixels_come_row_by_row_in_both_forms() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, 4, 3), dtype=np.uint8)
    declared = Declared("pixels", "UINT8", pixels.shape)
    for images in (
        tensors.from_raw(declared, memoryview(pixels.tobytes()), 5),
        tensors.from_values(declared, tensors.flat(pixels.tolist()), 5),
        tensors.from_values(declared, pixels.ravel().tolist(), 5),
    ):
        found = [image.pixels for image in images if isinstance(image, DecodedImage)]
        np.testing.assert_array_equal(np.stack(found), pixels)


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "words"),
    [
        ("input0", "BYTES", (1,), "no input 'input0'"),
        ("images", "UINT8", (1,), "is of BYTES, not 'UINT8'"),
        ("pixels", "FP32", (1, 8, 8, 3), "is of UINT8, not 'FP32'"),
        ("images", "BYTES", (), "shape []"),
        ("images", "BYTES", (1, 2), "shape [1, 2]"),
        ("images", "BYTES", (-1,), "shape [-1]"),
        ("images", "BYTES", (-1, -1), "shape [-1, -1]"),
        ("pixels", "UINT8", (8, 8, 3), "shape [8, 8, 3]"),
        ("pixels", "UINT8", (1, 3, 8, 8), "shape [1, 3, 8, 8]"),
        ("pixels", "UINT8", (1, 0, 8, 3), "shape [1, 0, 8, 3]"),
        ("pixels", "UINT8", (-1, -8, 8, 3), "shape"),
    ],
)
def test_a_tensor_that_no_model_takes_is_refused(name: str, datatype: str, shape: tuple[int, ...], words: str) -> None:
    declared = Declared(name, datatype, shape)
    reads: list[Callable[[], object]] = [
        lambda: tensors.from_raw(declared, b"", 5),
        lambda: tensors.from_elements(declared, [], 5),
        lambda: tensors.from_values(declared, [], 5),
    ]
    for read in reads:
        with pytest.raises(InvalidInputError) as refused:
            read()
        assert words in refused.value.message and "'pixels'" in refused.value.message


@pytest.mark.parametrize("shape", [(6,), (10**30,)])
def test_too_many_images_are_refused_before_the_contents_are_read(shape: tuple[int, ...]) -> None:
    with pytest.raises(TooLargeError):
        tensors.from_raw(Declared("images", "BYTES", shape), b"\0" * 4000, 5)
    with pytest.raises(TooLargeError):
        tensors.from_raw(Declared("pixels", "UINT8", (*shape, 1, 1, 3)), b"", 5)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "end before the length of image 0"),
        (b"\1\0\0", "end before the length of image 0"),
        (behind_lengths(b"one") + b"\1\0\0", "end before the length of image 1"),
        (behind_lengths(b"one") + b"\xff\xff\xff\xffabc", "Image 1 of 'images' is longer"),
        (behind_lengths(b"one", b"two") + b"x", "1 bytes of 'images' are left over"),
    ],
)
def test_contents_that_are_not_as_long_as_they_say_are_refused(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        tensors.from_raw(Declared("images", "BYTES", (2,)), raw, 5)


def test_contents_of_another_size_than_the_shape_are_refused() -> None:
    pixels = Declared("pixels", "UINT8", (1, 2, 2, 3))
    with pytest.raises(InvalidInputError, match="makes 12 bytes; 11 were sent"):
        tensors.from_raw(pixels, b"\0" * 11, 5)
    with pytest.raises(InvalidInputError, match="makes 12 values; 13 were sent"):
        tensors.from_values(pixels, [0] * 13, 5)
    with pytest.raises(InvalidInputError, match="makes 2 elements; 1 were sent"):
        tensors.from_elements(Declared("images", "BYTES", (2,)), [b"one"], 5)


@pytest.mark.parametrize("side", [1, 2**62])
def test_no_images_are_none_however_large_they_are_said_to_be(side: int) -> None:
    declared = Declared("pixels", "UINT8", (0, side, side, 3))
    assert tensors.from_raw(declared, b"", 5) == tensors.from_values(declared, [], 5) == []


@pytest.mark.parametrize("value", [-1, 256, 10**30])
def test_a_value_that_is_no_uint8_is_refused(value: int) -> None:
    with pytest.raises(InvalidInputError, match="between 0 and 255"):
        tensors.from_values(Declared("pixels", "UINT8", (1, 1, 1, 3)), [0, value, 0], 5)


def test_more_single_values_than_are_worth_their_memory_are_refused() -> None:
    with pytest.raises(TooLargeError, match="binary form"):
        tensors.from_values(Declared("pixels", "UINT8", (1, 1, 1, 3)), range(tensors.MOST_VALUES + 1), 5)


@pytest.mark.parametrize(
    ("nested", "flat"), [([], []), ([[1], [2]], [1, 2]), ([[[1, 2]], [[3, 4]]], [1, 2, 3, 4]), ([[[]]], [])]
)
def test_nested_data_is_read_row_by_row(nested: Any, flat: list[int]) -> None:
    assert tensors.flat(nested) == flat


def test_unevenly_nested_data_is_refused() -> None:
    for nested in ([[1], 2], [[], "text"], [[], {"a": 1}], [[[1]], [2]]):
        with pytest.raises(InvalidInputError, match="unevenly"):
            tensors.flat(nested)


def test_a_text_among_lists_is_not_taken_apart() -> None:
    text = "x" * 2**22
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match="unevenly"):
            tensors.flat([[], text])
        assert tracemalloc.get_traced_memory()[1] < 2**20  # as letters it would take eight times its length and more
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("number", [0, 2])
def test_a_request_has_one_input(number: int) -> None:
    with pytest.raises(InvalidInputError, match=f"{number} inputs"):
        tensors.only([Declared("images", "BYTES", (1,))] * number)
