"""Decode once, train many times: pixels of a data set as a memory map, shared by all tasks of this machine."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

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


def _pixels_of(context: Context, index: int, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    sample = context.spec.samples[index]
    what = f"image {sample.sha256[:12]}"
    if sample.url is None:
        raise CorruptError(f"The task may not read {what}, though its part of the split names it.")
    data = transfer.read(sample.url, what, sample.sha256)
    try:
        return to_pixels(data, preprocessing)
    except UnreadableImageError as error:
        raise CorruptError(f"The stored {what} can't be read as an image: {error.message}") from error


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

    with ThreadPoolExecutor(max(1, context.claim.settings.threads or 1)) as pool:

        def compute(part: Sequence[int]) -> NDArray[np.generic]:
            return np.stack(list(pool.map(lambda index: _pixels_of(context, index, preprocessing), part)))

        cache.fill(indices, compute, CHUNK, progress, context.check_stop)
    rows = cache.rows()
    assert rows.dtype == np.uint8
    return rows  # type: ignore[return-value]  # the dtype was just checked


def _decides_pixels(preprocessing: Preprocessing) -> dict[str, object]:
    """The part of the preprocessing that decides uint8 pixels: networks that differ in mean and sd share."""
    facts = preprocessing.model_dump(mode="json")
    return {name: value for name, value in facts.items() if name not in {"mean", "std"}}
