"""Drawn pictures: large blots, so that no two seeds look alike, small enough that a network is fitted in a second."""

import hashlib
import io
import random
import zipfile
from typing import NamedTuple

from PIL import Image

SIDE = 32
CLASSES = ("dark", "light")


class Archive(NamedTuple):
    """A zip of folders, one per class."""

    data: bytes
    pixels: frozenset[str]
    """SHA-256 of each picture's decoded pixels, by which it is known again whatever file holds it."""
    first: bytes
    """The file of one picture, to be classified."""


def archive(seed: str, per_class: int) -> Archive:
    """The same seed gives the same bytes."""
    pixels: set[str] = set()
    out, first = io.BytesIO(), b""
    with zipfile.ZipFile(out, "w") as target:
        for label in CLASSES:
            for number in range(per_class):
                file = picture(f"{seed}/{label}/{number}", dark=label == "dark")
                target.writestr(zipfile.ZipInfo(f"{label}/{number:03d}.png"), file)
                pixels.add(pixels_of(file))
                first = first or file
    return Archive(out.getvalue(), frozenset(pixels), first)


def picture(seed: str, dark: bool) -> bytes:
    """One PNG."""
    draw = random.Random(seed)
    low, high = (0, 150) if dark else (105, 256)
    small = Image.new("RGB", (5, 4))
    small.putdata([tuple(draw.randrange(low, high) for _ in range(3)) for _ in range(20)])
    out = io.BytesIO()
    small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def pixels_of(file: bytes) -> str:
    """SHA-256 of the decoded pixels."""
    with Image.open(io.BytesIO(file)) as image:
        return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
