"""Previews of what a browser can't show."""

import io

import numpy as np
import pytest
from PIL import Image

from services.dashboard.views.pictures import PIXELS, preview


def _file(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG", "WEBP", "GIF"])
def test_previews_are_small_pngs(kind: str) -> None:
    data = preview(_file(Image.new("RGB", (600, 300), (200, 30, 30)), kind))
    assert data is not None
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size) == ("PNG", (PIXELS, PIXELS // 2))
    red, green, _ = picture.convert("RGB").resize((1, 1)).tobytes()
    assert red > 150 > green


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((8, 8), 0x8000, np.uint16))
    data = preview(_file(grey, "TIFF"))
    assert data is not None
    assert abs(Image.open(io.BytesIO(data)).convert("L").tobytes()[0] - 0x80) <= 1


def test_no_preview_of_what_is_none_or_enormous(monkeypatch: pytest.MonkeyPatch) -> None:
    assert preview(b"not an image") is None
    assert preview(_file(Image.new("RGB", (99, 99), (9, 8, 7)), "JPEG")[:300]) is None
    monkeypatch.setattr("services.dashboard.views.pictures._MOST_PIXELS", 80)
    assert preview(_file(Image.new("RGB", (9, 9)), "PNG")) is None
