"""A task's samples in a file, one line each: with their addresses a hundred thousand would be 200 MB of objects."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from aimic.domain.work import TaskSample


class SampleFile(Sequence[TaskSample]):
    """The samples of a file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._ends = np.cumsum([len(line) for line in file], dtype=np.int64)

    @classmethod
    def write(cls, path: Path, samples: Iterable[TaskSample]) -> None:
        """Leave `samples` in the file, in place of what was there."""
        with path.open("w", encoding="utf-8") as file:
            for sample in samples:
                file.write(sample.model_dump_json() + "\n")

    def __len__(self) -> int:
        """How many."""
        return len(self._ends)

    def __iter__(self) -> Iterator[TaskSample]:
        """One after the other."""
        with self._path.open("rb") as file:
            for line in file:
                yield TaskSample.model_validate_json(line)

    @overload
    def __getitem__(self, index: int) -> TaskSample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TaskSample]: ...
    def __getitem__(self, index: int | slice) -> TaskSample | Sequence[TaskSample]:
        """One sample, or several."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        begin = int(self._ends[place - 1]) if place else 0
        with self._path.open("rb") as file:
            file.seek(begin)
            return TaskSample.model_validate_json(file.read(int(self._ends[place]) - begin))
