"""Decode once, train many times: pixels of a data set as a memory map, shared by all tasks of this machine."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from aimic.domain.base import sha256_of
from aimic.errors import CorruptError, UnreadableImageError
from aimic.nets.preprocessing import Preprocessing, to_pixels
from services.trainer import transfer
from services.trainer.context import Context
from services.trainer.rows import RowCache

CHUNK = 64
"""Images decoded between two marks on disk."""
READERS = 8
"""Threads that read side by side: a store elsewhere answers each request after some milliseconds."""
MEMORY, PIXELS_PER_BYTE = 192 << 20, 12
"""Bytes for images on their way, and how many of these a stored byte may take: its pixels, and them once more."""


class _Reader:
    """Reads and decodes images; threads share it. Many may wait for the store, a few decode, one if it is large."""

    def __init__(self, context: Context, preprocessing: Preprocessing) -> None:
        self._context, self._preprocessing = context, preprocessing
        self._decoding = threading.Semaphore(max(1, context.claim.settings.threads or 1))
        self._room = Room(MEMORY)

    def __call__(self, index: int) -> NDArray[np.uint8]:
        """uint8 [S, S, 3] of image `index` of the manifest."""
        self._context.report.alive()
        sample = self._context.spec.samples[index]
        what = f"image {sample.sha256[:12]}"
        if sample.url is None:
            raise CorruptError(f"The task may not read {what}, though its part of the split names it.")
        with self._room.held(PIXELS_PER_BYTE * sample.size):
            data = transfer.read(sample.url, what, sample.sha256)
            try:
                with self._decoding:
                    return to_pixels(data, self._preprocessing)
            except UnreadableImageError as error:
                raise CorruptError(f"The stored {what} can't be read as an image: {error.message}") from error


class Room:
    """Bytes of memory that threads share."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def held(self, size: int) -> Iterator[None]:
        """Wait until `size` bytes are free, and hold them within the block; more than there are means all."""
        size = min(size, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()


def pixels(context: Context, indices: Sequence[int], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Memory map [samples of the manifest, S, S, 3] of which the rows of `indices` are decoded.

    Every object's SHA-256 is verified when it is read. CorruptError when one is damaged.
    """
    side = preprocessing.image_size
    key = sha256_of({"manifest": context.claim.manifest_hash, "pixels": _decides_pixels(preprocessing)})
    cache = RowCache(context.spec.cache / "pixels" / key[:32], len(context.spec.samples), (side, side, 3), "u1")
    started = time.perf_counter()

    def progress(done: int, total: int) -> None:
        context.check_stop()
        context.report.batch("cache", done, total, done / (time.perf_counter() - started))

    read = _Reader(context, preprocessing)
    with ThreadPoolExecutor(READERS, "read") as pool:

        def compute(part: Sequence[int]) -> NDArray[np.generic]:
            return np.stack(list(pool.map(read, part)))

        cache.fill(indices, compute, CHUNK, progress, context.check_stop)
    rows = cache.rows()
    assert rows.dtype == np.uint8
    return rows  # type: ignore[return-value]  # the dtype was just checked


def _decides_pixels(preprocessing: Preprocessing) -> dict[str, object]:
    """The part of the preprocessing that decides uint8 pixels: networks that differ in mean and sd share."""
    facts = preprocessing.model_dump(mode="json")
    return {name: value for name, value in facts.items() if name not in {"mean", "std"}}
