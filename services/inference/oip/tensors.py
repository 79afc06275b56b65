"""Input tensors of the protocol become images. REST and gRPC both come through here, so both refuse the same."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimic.errors import InvalidInputError, TooLargeError
from services.inference.dataplane import DecodedImage, EncodedImage, Image
from services.inference.oip.models import IMAGES, PIXELS

MOST_VALUES = 2**21
"""Pixel values that may come one by one, as numbers; each takes many times its memory while it is read."""
_LENGTH = struct.Struct("<I")
_WISHES = (
    f"Send one input: {IMAGES!r} (BYTES [n] or [n,1], an image file each) or {PIXELS!r} (UINT8 [n,height,width,3])."
)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a request says of an input tensor, its contents aside."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def images(self, most: int) -> int:
        """How many images that makes; InvalidInputError when no model takes such a tensor, TooLargeError over `most`.

        To be asked before anything is made of the contents: a declaration bounds what is read.
        """
        expected = {IMAGES: "BYTES", PIXELS: "UINT8"}.get(self.name)
        if expected is None:
            raise InvalidInputError(f"There is no input {self.name[:80]!r}. {_WISHES}")
        if self.datatype != expected:
            raise InvalidInputError(f"The input {self.name!r} is of {expected}, not {self.datatype[:20]!r}. {_WISHES}")
        if not self._fits():
            raise InvalidInputError(f"The shape {list(self.shape[:8])} doesn't fit the input {self.name!r}. {_WISHES}")
        if self.shape[0] > most:
            raise TooLargeError(f"{self.shape[0]} images in one request; at most {most} are taken. Send several.")
        return self.shape[0]

    def _fits(self) -> bool:
        if not self.shape or min(self.shape) < 0:
            return False
        if self.name == IMAGES:
            return self.shape[1:] in {(), (1,)}
        return len(self.shape) == 4 and self.shape[3] == 3 and min(self.shape[1:]) > 0


def only(inputs: Sequence[Any]) -> Any:
    """The one input of a request; InvalidInputError when there are none or several."""
    if len(inputs) != 1:
        raise InvalidInputError(f"{len(inputs)} inputs in the request. {_WISHES}")
    return inputs[0]


def from_raw(declared: Declared, raw: bytes | memoryview, most: int) -> list[Image]:
    """Images from contents in the protocol's binary form: pixels, or BYTES elements behind their lengths."""
    count = declared.images(most)
    if declared.name == IMAGES:
        return list(map(EncodedImage, _elements(raw, count)))
    same_number(declared, prod(declared.shape), len(raw), "bytes")
    return _cut(np.frombuffer(raw, np.uint8), declared)


def from_elements(declared: Declared, elements: Sequence[bytes], most: int) -> list[Image]:
    """Images from the elements of a BYTES tensor."""
    same_number(declared, declared.images(most), len(elements), "elements")
    return list(map(EncodedImage, elements))


def from_values(declared: Declared, values: Sequence[int], most: int) -> list[Image]:
    """Images from the values of a UINT8 tensor, given one by one."""
    declared.images(most)
    if len(values) > MOST_VALUES:
        raise TooLargeError(
            f"{len(values)} pixel values one by one; at most {MOST_VALUES} are taken so. Send them in binary form."
        )
    same_number(declared, prod(declared.shape), len(values), "values")
    try:
        # As a list: only from that does numpy refuse what doesn't fit; from protobuf's own sequences it takes 256 as 0.
        return _cut(np.array(list(values), np.uint8), declared)
    except OverflowError:
        raise InvalidInputError("A value of a UINT8 tensor is not between 0 and 255.") from None


def flat(nested: Any) -> list[Any]:
    """A tensor written as nested lists, row by row; InvalidInputError when it is no such thing."""
    while nested and isinstance(nested[0], list):
        if set(map(type, nested)) != {list}:  # a text among lists would come apart into its letters
            raise InvalidInputError("The data of an input is nested unevenly.")
        nested = list(chain.from_iterable(nested))
    return list(nested)


def same_number(declared: Declared, expected: int, found: int, of_what: str) -> None:
    """InvalidInputError when so many values were found and the shape makes another number."""
    if expected != found:
        raise InvalidInputError(
            f"The shape {list(declared.shape)} of {declared.name!r} makes {expected} {of_what}; {found} were sent."
        )


def _cut(values: NDArray[np.uint8], declared: Declared) -> list[Image]:
    if not values.size:  # no image, however large each of them is said to be
        return []
    return [DecodedImage(pixels) for pixels in values.reshape(declared.shape)]


def _elements(raw: bytes | memoryview, count: int) -> list[bytes]:
    found, at = [], 0
    for index in range(count):
        start = at + _LENGTH.size
        if start > len(raw):
            raise InvalidInputError(f"The contents of {IMAGES!r} end before the length of image {index}.")
        at = start + _LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            raise InvalidInputError(f"Image {index} of {IMAGES!r} is longer than what is left of the contents.")
        found.append(bytes(raw[start:at]))
    if at != len(raw):
        raise InvalidInputError(f"{len(raw) - at} bytes of {IMAGES!r} are left over after its {count} images.")
    return found
