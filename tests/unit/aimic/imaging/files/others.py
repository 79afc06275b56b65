"""WebP and GIF in their kinds."""

import numpy as np
from PIL import Image

from tests.unit.aimic.imaging.files.drawing import CANARY, Kinds, Picture, exif, grey, rgb, saved
from tests.unit.aimic.imaging.files.profiles import wide_profile


def others() -> dict[str, Picture]:
    """WebP and GIF in their kinds."""
    image, word = Image.fromarray(rgb()), {"exif": exif(), "xmp": CANARY.encode()}
    clear = Image.fromarray(np.dstack([rgb(), grey()]))
    more = {"save_all": True, "append_images": [image.rotate(180)], "duration": 50}
    palette = image.quantize(16)
    seen = np.asarray(palette.convert("RGB"))
    made: Kinds = {
        "webp lossy": (saved(image, "webp", **word), None),
        "webp lossless": (saved(image, "webp", lossless=True, **word), rgb()),
        "webp plain": (saved(image, "webp", lossless=True), rgb()),
        "webp alpha": (saved(clear, "webp", lossless=True, exact=True, **word), None),
        "webp animated": (saved(image, "webp", lossless=True, **more), rgb()),
        "webp wide profile": (saved(image, "webp", icc_profile=wide_profile(), lossless=True, **word), None),
        "webp turned": (saved(image, "webp", lossless=True, exif=exif(3)), np.rot90(rgb(), 2)),
        "gif": (saved(palette, "gif", comment=CANARY.encode()), seen),
        "gif interlaced": (saved(palette, "gif", interlace=True, comment=CANARY.encode()), seen),
        "gif animated": (saved(palette, "gif", comment=CANARY.encode(), **more), seen),
        "gif one clear": (saved(palette, "gif", transparency=3, comment=CANARY.encode()), None),
    }
    return {name: Picture(name, data, out) for name, (data, out) in made.items()}
