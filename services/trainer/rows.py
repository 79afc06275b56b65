"""Rows of one shape in a file that may be larger than memory: pixels, features.

Each row is there wholly or not at all, so that a killed process costs the rows it was at: the row's bytes
are on disk before the mark that says so. Processes of one machine share a cache; one fills it at a time.
"""

import fcntl
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from aimic.errors import FullError

MARKS = "present.bin"
"""One byte per row: whether it is there. Its time says when the cache was last opened."""
KEEP_FREE = 512 << 20
"""Bytes of disk that a cache leaves to everybody else."""


class RowCache:
    """`rows` rows of `shape` and `dtype` in `directory`; empty where nothing was put."""

    def __init__(self, directory: Path, rows: int, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._directory = directory
        self._shape = (rows, *shape)
        self._dtype = np.dtype(dtype)
        self._row_bytes = math.prod(shape) * self._dtype.itemsize
        directory.mkdir(parents=True, exist_ok=True)
        self._size_file(self._data, rows * self._row_bytes)
        self._size_file(self._marks, rows)
        os.utime(self._marks)

    @property
    def _data(self) -> Path:
        return self._directory / "rows.bin"

    @property
    def _marks(self) -> Path:
        return self._directory / MARKS

    @staticmethod
    def _size_file(path: Path, size: int) -> None:
        with path.open("ab") as file:
            if file.tell() < size:
                os.truncate(file.fileno(), size)

    def rows(self) -> NDArray[np.generic]:
        """All rows, mapped read-only; look only at those that are present."""
        return np.memmap(self._data, dtype=self._dtype, mode="r", shape=self._shape)

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Those of `indices` that were never put, ascending."""
        present = np.frombuffer(self._marks.read_bytes(), dtype=np.uint8)
        return [index for index in sorted(set(indices)) if not present[index]]

    def put(self, indices: Sequence[int], values: NDArray[np.generic]) -> None:
        """Store rows durably. OSError when the disk is full; what was there before stays."""
        with self._data.open("r+b", buffering=0) as file:
            for index, value in zip(indices, values, strict=True):
                data = np.ascontiguousarray(value, dtype=self._dtype).tobytes()
                written = os.pwrite(file.fileno(), data, index * self._row_bytes)
                if written != len(data):
                    raise OSError(f"only {written} of {len(data)} bytes of row {index} could be written")
            os.fsync(file.fileno())
        with self._marks.open("r+b", buffering=0) as file:
            for index in indices:
                os.pwrite(file.fileno(), b"\x01", index)
            os.fsync(file.fileno())

    def fill(
        self,
        indices: Sequence[int],
        compute: Callable[[Sequence[int]], NDArray[np.generic]],
        chunk: int,
        progress: Callable[[int, int], None],
        waiting: Callable[[], None],
    ) -> None:
        """Compute and put what is missing of `indices`, `chunk` rows at a time: rows 0 to chunk - 1 together, the
        next `chunk` rows together, and so on, whichever of them are missing.

        `progress(done, total)` after each chunk; `waiting()` now and then while another process fills.
        """
        if not self.missing(indices):
            return
        with self._alone(waiting):
            todo = self.missing(indices)
            self._check_room(len(todo) * self._row_bytes)
            parts = [list(rows) for _, rows in groupby(todo, key=lambda index: index // chunk)]
            done = 0
            # What was computed goes to disk while the next rows are computed.
            with ThreadPoolExecutor(1, "rows") as writer:
                putting: Future[None] | None = None
                for part in parts:
                    values = compute(part)
                    if putting is not None:
                        putting.result()
                        progress(done, len(todo))
                    putting = writer.submit(self.put, part, values)
                    done += len(part)
                if putting is not None:
                    putting.result()
                    progress(done, len(todo))

    def _check_room(self, need: int) -> None:
        free = shutil.disk_usage(self._directory).free
        if free < need + KEEP_FREE:
            raise FullError(
                f"The disk of {self._directory} has {free >> 20} MiB free, but {(need + KEEP_FREE) >> 20} MiB "
                "are needed to prepare the images. Nothing is lost; free some space and start the job again."
            )

    @contextmanager
    def _alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        with (self._directory / "lock").open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    waiting()
                    time.sleep(0.2)
            yield
