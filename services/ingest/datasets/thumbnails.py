"""Small pictures for lists, made from the stored bytes when they are asked for."""

import io
import threading
from collections.abc import Callable

from PIL import Image

from aimic.errors import OverloadedError
from aimic.imaging.decode import decode

SMALLEST, LARGEST = 16, 1024
_AT_ONCE_PIXELS = 64_000_000
"""Pixels that may be decoded side by side: about 200 MiB."""
_WAIT_S = 10
_MOST_WAITING = 8
"""Threads that may wait for that; the others are for those who ask for something else."""


class Thumbnails:
    """Decodes within a budget of memory, however many people scroll."""

    def __init__(self) -> None:
        self._free = _AT_ONCE_PIXELS
        self._waiting = 0
        self._changed = threading.Condition()

    def png(self, read: Callable[[], bytes], pixels: int, size: int) -> bytes:
        """PNG of the picture, scaled down to fit `size` × `size`. OverloadedError when too many are asked for."""
        cost = min(pixels, _AT_ONCE_PIXELS)
        with self._changed:
            if not self._room_for(cost):
                raise OverloadedError("Too many large pictures are asked for at once; try again.", retry_after_s=2)
            self._free -= cost
        try:
            # These bytes were examined in a sandbox and rewritten by us when they came in.
            image = Image.fromarray(decode(read()).pixels)
            image.thumbnail((size, size), Image.Resampling.BOX)
            out = io.BytesIO()
            image.save(out, "PNG")
            return out.getvalue()
        finally:
            with self._changed:
                self._free += cost
                self._changed.notify_all()

    def _room_for(self, cost: int) -> bool:
        """Wait for it, if not too many do."""
        if self._free < cost and self._waiting >= _MOST_WAITING:
            return False
        self._waiting += 1
        try:
            return self._changed.wait_for(lambda: self._free >= cost, _WAIT_S)
        finally:
            self._waiting -= 1
