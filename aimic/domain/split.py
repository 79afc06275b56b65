"""Folds. What is asked for, what comes of it; the splitting itself is in aimic/domain/folds.py."""

from typing import Literal, Self

from pydantic import Field

from aimic.domain.base import Command, Value

ALWAYS_TRAIN = -1
LOCKED = -2
SET_ASIDE = -3


class SplitRequest(Command):
    """How to divide the samples. Groups and duplicate clusters are never divided."""

    kind: Literal["kfold", "holdout", "column"] = "kfold"
    k: int = Field(5, ge=2, le=50)
    fraction: float = Field(0.2, gt=0, lt=1)
    """Hold-out part, of all samples."""
    column: str | None = None
    """Column of the labels CSV that gives each image's fold (column kind): two or more values are the folds;
    with the words train and test (and perhaps val, which then chooses the epoch) test is the reported part."""
    lock_test: float = Field(0.0, ge=0, lt=0.9)
    """Part locked away by cluster; no job reads it, and every opening is counted. It is drawn by the images and
    not by the seed, and what an earlier job locked stays locked, so that it can be larger."""
    inner: float = Field(0.1, gt=0, lt=0.5)
    """Part of each fold's training samples that chooses the epoch."""

    @classmethod
    def parse(cls, text: str, lock_test: float = 0.0) -> Self:
        """Read `kfold:5`, `holdout:0.2` or `column:NAME`; ValueError with a sentence otherwise."""
        kind, _, rest = text.partition(":")
        if kind == "kfold" and (not rest or _is_count(rest)):
            return cls(kind="kfold", k=int(rest or 5), lock_test=lock_test)
        if kind == "holdout" and (not rest or _is_share(rest)):
            return cls(kind="holdout", fraction=float(rest or 0.2), lock_test=lock_test)
        if kind == "column" and rest:
            return cls(kind="column", column=rest, lock_test=lock_test)
        raise ValueError(
            f"unknown split {text!r}; write kfold:5 (2 to 50 folds), "
            "holdout:0.2 (a part between 0 and 1) or column:NAME"
        )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 3 and 2 <= int(text) <= 50


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


class Split(Value):
    """A division, fixed once in the job and copied into the bundle.

    `folds[i]` is sample i's reported fold 0…k-1, or ALWAYS_TRAIN, LOCKED or SET_ASIDE.
    `inner[f]` lists the samples (indices, ascending) of fold f's training part that choose its epoch.
    """

    request: SplitRequest
    seed: int
    k: int
    """Number of reported folds: 1 for a hold-out."""
    folds: tuple[int, ...]
    inner: tuple[tuple[int, ...], ...]
    classes: tuple[int, ...]
    """Indices of the manifest's classes that take part, in order; the others are set aside."""

    def train(self, fold: int) -> tuple[int, ...]:
        """Samples that fit fold f's weights: neither reported, inner, locked nor set aside."""
        inner = set(self.inner[fold])
        return tuple(
            i for i, f in enumerate(self.folds) if (f >= 0 or f == ALWAYS_TRAIN) and f != fold and i not in inner
        )

    def reported(self, fold: int) -> tuple[int, ...]:
        """Samples on which fold f is judged."""
        return tuple(i for i, f in enumerate(self.folds) if f == fold)

    def everything(self) -> tuple[int, ...]:
        """Samples a refit learns from."""
        return tuple(i for i, f in enumerate(self.folds) if f >= 0 or f == ALWAYS_TRAIN)


class FoldCount(Value):
    """Samples of one class in one fold's parts."""

    fold: int
    label: str
    train: int
    inner: int
    reported: int


class SplitSummary(Value):
    """What a person is told about a split."""

    kind: str
    k: int
    seed: int
    groups: bool
    """Whether patients or slides were known and kept together."""
    classes: tuple[str, ...]
    set_aside: tuple[str, ...]
    """Classes left out, because they have fewer independent images than folds."""
    locked: int
    counts: tuple[FoldCount, ...]
