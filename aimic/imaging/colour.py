"""Embedded colour profiles, and what they become: sRGB.

A profile that is sRGB in all but name changes nothing; a broken one, or one for other channels than the
picture has, is ignored. Colours are converted by relative colorimetric intent with black point compensation
(ICC.1:2022, Little CMS), at 8 bits.
"""

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

MAX_PROFILE_BYTES = 4 * 1024 * 1024
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# Differences up to this many levels of 255 come from the many roundings of sRGB, not from other colours.
_SAME = 2


def needs_conversion(icc: bytes | None, channels: str) -> bool:
    """Whether colours with this profile differ from sRGB. `channels` is L, RGB or CMYK, what the picture has."""
    return icc is not None and _transform(icc, channels) is not None


def to_srgb(
    samples: NDArray[Any], icc: bytes | None, *, cmyk: bool, to_8_bit: Callable[[Any], NDArray[np.uint8]]
) -> NDArray[Any]:
    """Convert [h, w, c] samples to sRGB by their profile; alpha (c = 2, 4) stays. Without need: unchanged.

    CMYK becomes RGB in any case, without a profile by R = (1 − C)(1 − K).
    """
    channels = "CMYK" if cmyk else "L" if samples.shape[2] < 3 else "RGB"
    transform = _transform(icc, channels) if icc else None
    if transform is None and not cmyk:
        return samples
    small = to_8_bit(samples)
    colours = {"L": 1, "RGB": 3, "CMYK": 4}[channels]
    image = _image(small[..., :colours], channels)
    converted = np.asarray(image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform))
    alpha = small[..., colours:]
    return np.concatenate([converted, alpha], axis=2) if alpha.shape[2] else converted


def _image(samples: NDArray[np.uint8], mode: str) -> Image.Image:
    height, width = samples.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(samples).tobytes())


@lru_cache(maxsize=32)
def _transform(icc: bytes, channels: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion to sRGB, or None when there is nothing to convert or nothing to go by."""
    if not 128 <= len(icc) <= MAX_PROFILE_BYTES:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if _SPACES.get(profile.profile.xcolor_space) != channels:
            return None
        transform = ImageCms.buildTransform(profile, _srgb(), channels, "RGB", _INTENT, _FLAGS)
        return None if channels != "CMYK" and _is_srgb(transform, channels) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _is_srgb(transform: ImageCms.ImageCmsTransform, channels: str) -> bool:
    """Judge by what the profile does to a grid of colours, since its name proves nothing."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    if channels == "L":
        grid = np.arange(256, dtype=np.uint8)[None, :, None]
    else:
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    done = np.asarray(ImageCms.applyTransform(_image(grid, channels), transform)).astype(int)
    return bool(np.abs(done - grid).max() <= _SAME)
