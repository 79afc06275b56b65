"""JPEG in its kinds."""

import struct

from PIL import Image

from tests.unit.aimic.imaging.files.drawing import CANARY, Picture, exif, rgb, saved
from tests.unit.aimic.imaging.files.profiles import grey_profile, ink_profile, srgb_profile, wide_profile


def with_segments(data: bytes) -> bytes:
    """A JPEG with words in application segments, comments and after its end."""
    word = CANARY.encode()
    more = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(word) + 12) + b"Ident\0\0\0\0\0" + word
        for marker in (*range(0xE1, 0xF0), 0xFE)
    )
    return data[:2] + more + data[2:] + word


def jpegs() -> dict[str, Picture]:
    """JPEG in its kinds."""
    image, info = Image.fromarray(rgb()), {"exif": exif(), "comment": CANARY}
    made = {
        "rgb": saved(image, "jpeg", quality=80, **info),
        "progressive 4:2:2": saved(image, "jpeg", progressive=True, subsampling=1, **info),
        "grey": saved(image.convert("L"), "jpeg", **info),
        "cmyk": saved(image.convert("CMYK"), "jpeg", **info),
        "srgb profile": saved(image, "jpeg", icc_profile=srgb_profile(), **info),
        "wide profile": saved(image, "jpeg", icc_profile=wide_profile(), **info),
        "wide profile, turned": saved(image, "jpeg", icc_profile=wide_profile(), exif=exif(6)),
        "grey profile": saved(image.convert("L"), "jpeg", icc_profile=grey_profile(), **info),
        "ink profile": saved(image.convert("CMYK"), "jpeg", icc_profile=ink_profile(), **info),
        "broken profile": saved(image, "jpeg", icc_profile=wide_profile()[:150] + CANARY.encode(), **info),
        "profile of other channels": saved(image.convert("L"), "jpeg", icc_profile=wide_profile(), **info),
        "restart markers": saved(image, "jpeg", restart_marker_blocks=1, **info),
        "all segments": with_segments(saved(image, "jpeg")),
    }
    made |= {f"orientation {turn}": saved(image, "jpeg", exif=exif(turn)) for turn in range(2, 9)}
    return {f"jpeg {name}": Picture(f"jpeg {name}", data) for name, data in made.items()}
