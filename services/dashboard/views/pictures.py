"""Small pictures that a browser can show, of files that it can't (TIFF, BMP)."""

import io

from PIL import Image, ImageOps

PIXELS = 280
_MOST_PIXELS = 64 * 10**6


def preview(data: bytes) -> bytes | None:
    """A PNG of at most 280 pixels a side; None for what can't be shown. For looking only, never for an answer."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height > _MOST_PIXELS:
                return None
            opened.draft("RGB", (PIXELS, PIXELS))
            image: Image.Image = opened
            if image.mode.startswith("I"):
                # Sixteen bits: Pillow would clip them.
                image = image.convert("I").point(lambda value: value / 256).convert("L")
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((PIXELS, PIXELS))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    out = io.BytesIO()
    small.save(out, "PNG")
    return out.getvalue()
