"""BMP in its kinds."""

import struct

import numpy as np
from PIL import Image

from tests.unit.aimic.imaging.files.drawing import CANARY, HEIGHT, WIDTH, Kinds, Picture, as_rgb, grey, rgb, saved


def bmps() -> dict[str, Picture]:
    """BMP in its kinds; one has words between header and rows and behind them."""
    image = Image.fromarray(rgb())
    plain, word = saved(image, "bmp"), CANARY.encode()
    gap = plain[:6] + b"CANA" + struct.pack("<I", 54 + len(word)) + plain[14:54] + word + plain[54:] + word
    rows = Image.fromarray(rgb()[::-1].copy())
    upside = bytearray(saved(rows, "bmp"))
    upside[22:26] = struct.pack("<i", -HEIGHT)
    alpha = Image.fromarray(np.dstack([rgb(), grey()]))
    made: Kinds = {
        "24-bit": (plain, rgb()),
        "with gaps": (gap, rgb()),
        "top down": (bytes(upside), rgb()),
        "grey": (saved(Image.fromarray(grey()), "bmp"), as_rgb(grey())),
        "1-bit": (saved(image.convert("1"), "bmp"), np.asarray(image.convert("1").convert("RGB"))),
        "palette": (saved(image.quantize(16), "bmp"), np.asarray(image.quantize(16).convert("RGB"))),
        "32-bit": (saved(alpha, "bmp"), None),
        "rle": (_rle_bmp(), as_rgb(np.repeat(np.arange(HEIGHT, dtype=np.uint8)[:, None] * 9, WIDTH, axis=1))),
        "old header": (_old_bmp(plain), rgb()),
    }
    return {f"bmp {name}": Picture(f"bmp {name}", data, out) for name, (data, out) in made.items()}


def _rle_bmp() -> bytes:
    """Rows of one colour each, run-length encoded, bottom row first."""
    rows = b"".join(bytes((WIDTH, row * 9, 0, 0)) for row in reversed(range(HEIGHT))) + b"\0\1"
    palette = b"".join(bytes((value, value, value, 0)) for value in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return struct.pack("<2sIII", b"BM", 54 + 1024 + len(rows), 0, 54 + 1024) + header + palette + rows


def _old_bmp(plain: bytes) -> bytes:
    """The same rows under OS/2's 12-byte header."""
    start = struct.pack("<2sIII", b"BM", len(plain) - 28, 0, 26)
    return start + struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24) + plain[54:]
