"""The one way from bytes to pixels."""

import hashlib
import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydantic import ValidationError
from torchvision.transforms.functional import normalize, to_tensor

from aimic.errors import UnreadableImageError
from aimic.imaging.decode import decode, plain_jpeg
from aimic.imaging.limits import Limits
from aimic.nets.normalise import normalise
from aimic.nets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PLAIN, Preprocessing, pixels_of, to_pixels

PINNED_PIXELS = [[179, 214, 170], [211, 166, 86]]
PINNED_HASH = "f2d1ef538ee8335ff34e1687ce85a9603b6241d69809a309494bc8d54dcb01b7"
IMAGENET = Preprocessing(image_size=64, mean=IMAGENET_MEAN, std=IMAGENET_STD)


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def test_whole_image_is_stretched(picture: NDArray[np.uint8]) -> None:
    picture[:, :60] = (255, 0, 0)
    picture[:, 60:] = (0, 0, 255)
    pixels = pixels_of(picture, IMAGENET)
    assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8 and pixels.flags.writeable
    assert (pixels[:, :31] == (255, 0, 0)).all() and (pixels[:, 33:] == (0, 0, 255)).all()


def test_right_size_is_left_alone(picture: NDArray[np.uint8]) -> None:
    square = picture[:64, :64]
    pixels = pixels_of(square, IMAGENET)
    assert (pixels == square).all() and not np.shares_memory(pixels, square)


def test_bytes_and_pixels_go_the_same_way(picture: NDArray[np.uint8]) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    assert (to_pixels(stream.getvalue(), IMAGENET) == pixels_of(picture, IMAGENET)).all()


def jpeg(picture: NDArray[np.uint8], mode: str = "RGB", **settings: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(stream, "JPEG", **settings)
    return stream.getvalue()


TURNED = Image.Exif()
TURNED[0x0112] = 6
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize(
    ("short", "settings"),
    [
        (True, {"quality": 75}),
        (True, {"quality": 95, "subsampling": 0}),
        (True, {"progressive": True}),
        (True, {"icc_profile": PROFILE}),
        (True, {"icc_profile": LAB}),
        (False, {"exif": TURNED}),
        (False, {"mode": "L"}),
        (False, {"mode": "CMYK"}),
    ],
)
def test_the_short_way_of_usual_jpegs_gives_the_same_pixels(
    picture: NDArray[np.uint8], short: bool, settings: dict[str, Any]
) -> None:
    data = jpeg(picture, **settings)
    assert (plain_jpeg(data) is not None) == short
    for size in (64, 20, 200):
        preprocessing = IMAGENET.model_copy(update={"image_size": size})
        assert (to_pixels(data, preprocessing) == pixels_of(decode(data).pixels, preprocessing)).all()


def test_the_short_way_refuses_nothing_by_itself(picture: NDArray[np.uint8]) -> None:
    whole = jpeg(picture)
    for broken in (whole[:-300], whole[:40], b"\xff\xd8\xff", whole[:2] + b"\0" * 90):
        assert plain_jpeg(broken) is None
        with pytest.raises(UnreadableImageError):
            to_pixels(broken, IMAGENET)
    assert plain_jpeg(whole, Limits(max_bytes=100)) is None
    assert plain_jpeg(whole, Limits(max_pixels=100)) is None


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(UnreadableImageError):
        to_pixels(b"not an image", IMAGENET)


def test_large_images_keep_their_mean_colour() -> None:
    large = np.random.default_rng(2).integers(0, 256, (900, 700, 3), dtype=np.uint8)
    pixels = pixels_of(large, IMAGENET)
    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), large.mean(axis=(0, 1)), atol=1.0)


def test_version_1_is_pinned() -> None:
    """A change of these bytes is another preprocessing version: models would see other pixels."""
    y, x = np.mgrid[:97, :83]
    waves = [128 + 127 * np.sin(x / 9 + channel) * np.cos(y / 7) for channel in range(3)]
    image = np.stack(waves, axis=-1).round().astype(np.uint8)
    small = pixels_of(image, IMAGENET.model_copy(update={"image_size": 8}))
    assert small[3, :2].tolist() == PINNED_PIXELS
    assert hashlib.sha256(pixels_of(image, IMAGENET).tobytes()).hexdigest() == PINNED_HASH


def test_normalise_is_torchvisions(picture: NDArray[np.uint8]) -> None:
    square = picture[:64, :64]
    found = normalise(torch.from_numpy(square.copy())[None], IMAGENET)
    expected = normalize(to_tensor(square.copy()), list(IMAGENET_MEAN), list(IMAGENET_STD))
    assert torch.equal(found[0], expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_plain_normalisation_spans_minus_one_to_one() -> None:
    pixels = torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8)
    found = normalise(pixels, Preprocessing(image_size=1, mean=PLAIN, std=PLAIN))
    assert found.flatten().tolist() == pytest.approx([-1, -0.003921568, 1])
    assert pixels.dtype == torch.uint8


def test_unknown_version_is_refused() -> None:
    with pytest.raises(ValidationError):
        Preprocessing.model_validate({**IMAGENET.model_dump(), "version": 2})


def test_no_torch_on_the_way() -> None:
    """ingest verifies bundles without torch."""
    code = (
        "import sys, aimic.nets.bundle, aimic.nets.calibration, aimic.nets.preprocessing\n"
        "sys.exit(any(name.split('.')[0] == 'torch' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
