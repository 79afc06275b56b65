"""Out-of-fold logits: what each network said of the images it was not fitted on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from aimic.errors import CorruptError

NAME = "oof.safetensors"


@dataclass(frozen=True)
class OutOfFold:
    """One row per judged image; no image twice."""

    indices: NDArray[np.int64]
    """Position in the manifest."""
    labels: NDArray[np.int64]
    """True class as a position in the split's classes."""
    folds: NDArray[np.int64]
    logits: NDArray[np.float32]
    """[n, classes]."""

    @classmethod
    def of(
        cls,
        indices: Sequence[int],
        targets: NDArray[np.int64],
        fold: int,
        logits: NDArray[np.float32],
    ) -> Self:
        """The rows of one fold."""
        where = np.array(indices, dtype=np.int64)
        return cls(where, targets[where], np.full(len(where), fold, dtype=np.int64), logits)

    @classmethod
    def pool(cls, parts: Iterable[Self]) -> Self:
        """All parts as one, in manifest order. CorruptError when an image was judged twice."""
        every = list(parts)
        indices = np.concatenate([part.indices for part in every])
        order = np.argsort(indices, kind="stable")
        if len(np.unique(indices)) != len(indices):
            raise CorruptError("An image was judged by two folds; the job's results can't be pooled.")
        return cls(
            indices[order],
            np.concatenate([part.labels for part in every])[order],
            np.concatenate([part.folds for part in every])[order],
            np.concatenate([part.logits for part in every])[order],
        )

    def write(self, path: Path) -> None:
        """Store as safetensors."""
        save_file(
            {
                "indices": self.indices,
                "labels": self.labels,
                "folds": self.folds,
                "logits": np.ascontiguousarray(self.logits),
            },
            path,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """The inverse of `write`; CorruptError when the file is damaged."""
        try:
            tensors = load_file(path)
            return cls(tensors["indices"], tensors["labels"], tensors["folds"], tensors["logits"])
        except Exception as error:
            raise CorruptError(f"The stored judgements of a fold are damaged: {error}") from error
