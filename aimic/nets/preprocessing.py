"""From the bytes of an image to the pixels a network sees: data with a version number, one implementation.

Training, judging and serving all come through `to_pixels`, so that a network is asked what it was taught.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from aimic.domain.base import Value
from aimic.imaging.decode import decode, plain_jpeg

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PLAIN = (0.5, 0.5, 0.5)
"""Mean and standard deviation for networks that start from no weights: pixels go to -1…1."""


class Preprocessing(Value):
    """What is done to an image before the network; stored in the bundle.

    Version 1: decode to upright 8-bit sRGB; stretch to a square with Pillow's antialiased bilinear filter,
    after an integer box reduction where an image is more than three times too large (`reducing_gap=3`,
    invisible in the result and several times faster); divide by 255; subtract `mean`, divide by `std`,
    per channel in RGB order.
    """

    version: Literal[1] = 1
    image_size: int
    """Pixels a side."""
    resize: Literal["stretch"] = "stretch"
    """The whole image, its sides stretched to a square: nothing of a cell is cropped away."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def to_pixels(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Decode one image file; uint8 RGB pixels [S, S, 3]. UnreadableImageError for what is no image."""
    image = plain_jpeg(data)
    return pixels_of(decode(data).pixels, preprocessing) if image is None else _stretched(image, preprocessing)


def pixels_of(image_rgb: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Stretch a decoded image [height, width, 3] to the network's size; uint8 RGB [S, S, 3]."""
    side = preprocessing.image_size
    if image_rgb.shape[:2] == (side, side):
        return np.array(image_rgb)
    return _stretched(Image.fromarray(np.ascontiguousarray(image_rgb)), preprocessing)


def _stretched(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    side = preprocessing.image_size
    return np.array(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))
