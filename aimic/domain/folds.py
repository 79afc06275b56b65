"""Stratified folds that never divide a group or a duplicate cluster; impossible wishes are refused in words."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from aimic.domain.balance import Counts, class_units, deal, draw
from aimic.domain.dataset import Manifest
from aimic.domain.split import ALWAYS_TRAIN, LOCKED, SET_ASIDE, FoldCount, Split, SplitRequest, SplitSummary
from aimic.domain.units import units as units_of
from aimic.errors import InvalidInputError

HOLDOUT_UNITS = 3
"""A hold-out needs one independent image of a class to report on, one to choose the epoch, one to train."""
_PARTS = {
    **dict.fromkeys(("train", "training"), ALWAYS_TRAIN),
    **dict.fromkeys(("test", "testing"), 0),
    **dict.fromkeys(("val", "valid", "validation"), SET_ASIDE),
}
# Purposes keep the random draws apart, so that asking for a locked part doesn't change how folds are dealt.
_LOCK, _DEAL, _INNER = range(3)


@dataclass(frozen=True, slots=True)
class _Case:
    """What there is to divide, and the words for it."""

    labels: Sequence[int]
    units: Sequence[int]
    names: Sequence[str]
    seed: int

    def rng(self, purpose: int, fold: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, fold])

    def members(self, samples: Collection[int]) -> dict[int, list[int]]:
        """The given samples by unit, units in order of first appearance."""
        found: dict[int, list[int]] = {}
        for sample in sorted(samples):
            found.setdefault(self.units[sample], []).append(sample)
        return found

    def counts(self, members: dict[int, list[int]]) -> list[Counts]:
        return [
            Counter(self.labels[sample] for sample in samples) if len(samples) > 1 else {self.labels[samples[0]]: 1}
            for samples in members.values()
        ]

    def named(self, classes: Collection[int]) -> str:
        return ", ".join(self.names[label] for label in sorted(classes))


def make_split(  # noqa: PLR0913  # the facts of the samples, column by column
    labels: Sequence[int],
    groups: Sequence[int | None],
    clusters: Sequence[int],
    n_classes: int,
    request: SplitRequest,
    seed: int,
    column: Sequence[str | None] | None = None,
    *,
    aside: Collection[int] = (),
    classes: Sequence[str] = (),
) -> Split:
    """Divide the samples as asked; the same arguments give the same split.

    `labels`, `groups`, `clusters`, `column`: one entry per sample, in manifest order. `aside`: samples that
    take no part (one picture under two labels). `classes`: names for messages. InvalidInputError says why
    a request is impossible and what would be possible.
    """
    names = list(classes) or [f"class {label}" for label in range(n_classes)]
    case = _Case(labels, units_of(groups, clusters).tolist(), names, seed)
    active = set(range(len(labels))).difference(aside)
    kept = _classes(case, active, request, any(group is not None for group in groups))
    active = {sample for sample in active if labels[sample] in kept}
    folds = [SET_ASIDE] * len(labels)
    if request.lock_test:
        locked = _lock(case, active, request)
        for sample in locked:
            folds[sample] = LOCKED
        active -= locked
    inner: list[set[int]] = []
    if request.kind == "column":
        k, chooses = _by_column(case, active, request, column, folds)
        kept = _seen_twice(case, active - chooses, k, folds, kept)
        inner = [{sample for sample in chooses if labels[sample] in kept}] if chooses else []
        for sample in active:
            if labels[sample] not in kept:
                folds[sample] = SET_ASIDE
    else:
        k = _by_units(case, active, request, folds)
    inner = inner or [_inner(case, fold, request, folds) for fold in range(k)]
    return Split(
        request=request,
        seed=seed,
        k=k,
        folds=tuple(folds),
        inner=tuple(tuple(sorted(part)) for part in inner),
        classes=tuple(sorted(kept)),
    )


def units_needed(request: SplitRequest) -> int:
    """Independent images that a class needs to take part."""
    return _without_lock(request) + (1 if request.lock_test else 0)


def _classes(case: _Case, active: set[int], request: SplitRequest, grouped: bool) -> set[int]:
    """Classes with enough independent images; refuses when fewer than two are left."""
    members = case.members(active)
    need = units_needed(request)
    what = "patients or slides" if grouped else "independent images"
    if len(members) < need and request.kind == "kfold":
        raise InvalidInputError(
            f"{request.k} folds can't be made from {len(members)} {what}: each fold needs at least one of its own"
            f"{', and so does the locked test part' if request.lock_test else ''}. "
            f"Ask for at most {max(len(members) - bool(request.lock_test), 0)} folds.",
            folds=request.k,
            units=len(members),
        )
    per_class = class_units(case.counts(members))
    kept = {label for label, count in per_class.items() if count >= need}
    _at_least_two(case, kept, set(per_class) - kept, f"{need} {what}")
    return kept


def _at_least_two(case: _Case, kept: set[int], aside: set[int], need: str) -> None:
    if len(kept) >= 2:
        return
    there = f"Only {case.named(kept)} has" if kept else "No class has"
    left_out = f" (too few: {case.named(aside)})" if aside else ""
    raise InvalidInputError(
        f"{there} the {need} that this split needs{left_out}, and training needs two classes. "
        "Add images, or ask for fewer folds or a hold-out."
    )


def _without_lock(request: SplitRequest) -> int:
    return {"kfold": request.k, "holdout": HOLDOUT_UNITS, "column": 1}[request.kind]


def _lock(case: _Case, active: set[int], request: SplitRequest) -> set[int]:
    members = case.members(active)
    chosen = draw(case.counts(members), request.lock_test, _without_lock(request), case.rng(_LOCK))
    parts = list(members.values())
    locked = {sample for index in chosen for sample in parts[index]}
    if not locked:
        raise InvalidInputError(
            "A locked test part can't be made: every patient or slide is needed for training. "
            "Leave out the locked part, or add patients."
        )
    return locked


def _by_units(case: _Case, active: set[int], request: SplitRequest, folds: list[int]) -> int:
    """Fill `folds` for a k-fold or a hold-out; returns k."""
    members = case.members(active)
    counts, rng = case.counts(members), case.rng(_DEAL)
    if request.kind == "kfold":
        dealt, k = deal(counts, request.k, rng), request.k
    else:
        test = set(draw(counts, request.fraction, 2, rng))
        dealt, k = [0 if index in test else ALWAYS_TRAIN for index in range(len(counts))], 1
        if not test:
            raise InvalidInputError(
                "A hold-out can't be made without dividing a patient or slide. Add patients, or use k folds."
            )
    for samples, fold in zip(members.values(), dealt, strict=True):
        for sample in samples:
            folds[sample] = fold
    return k


def _by_column(
    case: _Case, active: set[int], request: SplitRequest, column: Sequence[str | None] | None, folds: list[int]
) -> tuple[int, set[int]]:
    """Fill `folds` from the column: its values in order are the folds, or train/validation/test by name.

    Returns k and the samples that are named to choose the epoch, if any.
    """
    name = request.column
    if column is None:
        raise InvalidInputError(f"This data set has no column {name!r}. Import it with a CSV that has one.")
    values = {sample: (column[sample] or "").strip() for sample in active}
    empty = sum(not value for value in values.values())
    if empty:
        raise InvalidInputError(f"{empty} images have no value in column {name!r}, so their fold isn't known.")
    _undivided(case, active, values, str(name))
    distinct = sorted(set(values.values()), key=_natural)
    parts = {value: _PARTS.get(value.casefold()) for value in distinct}
    if None not in parts.values() and {0, ALWAYS_TRAIN} <= set(parts.values()):
        chooses = {sample for sample, value in values.items() if parts[value] == SET_ASIDE}
        for sample, value in values.items():
            folds[sample] = 0 if parts[value] == 0 else ALWAYS_TRAIN
        return 1, chooses
    if not 2 <= len(distinct) <= 50:
        raise InvalidInputError(
            f"Column {name!r} has {len(distinct)} different values; folds need 2 to 50 "
            "(or the words train, validation and test)."
        )
    for sample, value in values.items():
        folds[sample] = distinct.index(value)
    return len(distinct), set()


def _natural(value: str) -> list[tuple[int, int, str]]:
    """Sorts fold_2 before fold_10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", value) if part]


def _undivided(case: _Case, active: set[int], values: dict[int, str], name: str) -> None:
    divided = [samples for samples in case.members(active).values() if len({values[sample] for sample in samples}) > 1]
    if divided:
        first = divided[0]
        parts = ", ".join(sorted({values[sample] for sample in first}, key=_natural))
        raise InvalidInputError(
            f"Column {name!r} divides {len(divided)} patients, slides or sets of copies between folds; the first "
            f"has {len(first)} images in {parts}. Numbers from such folds would be too good; please change the column.",
            divided=len(divided),
            samples=first[:20],
        )


def _seen_twice(case: _Case, active: set[int], k: int, folds: list[int], kept: set[int]) -> set[int]:
    """With given folds, a class must be somewhere to learn from whenever it is reported."""
    places: dict[int, set[int]] = {label: set() for label in kept}
    for sample in active:
        places[case.labels[sample]].add(folds[sample])
    stay = {label for label, where in places.items() if len(where) >= 2 or (k == 1 and where == {ALWAYS_TRAIN})}
    _at_least_two(case, stay, kept - stay, "images in at least two folds")
    return stay


def _inner(case: _Case, fold: int, request: SplitRequest, folds: list[int]) -> set[int]:
    """The part of a fold's training samples that chooses its epoch."""
    training = {i for i, f in enumerate(folds) if f != fold and (f >= 0 or f == ALWAYS_TRAIN)}
    members = case.members(training)
    chosen = draw(case.counts(members), request.inner, 1, case.rng(_INNER, fold))
    parts = list(members.values())
    return {sample for index in chosen for sample in parts[index]}


def summary(split: Split, manifest: Manifest) -> SplitSummary:
    """What a person is told: images per class in every part of every fold."""
    labels = [sample.label for sample in manifest.samples]
    counts = []
    for fold in range(split.k):
        parts = [
            Counter(labels[i] for i in part) for part in (split.train(fold), split.inner[fold], split.reported(fold))
        ]
        counts += [
            FoldCount(fold=fold, label=manifest.classes[c], train=parts[0][c], inner=parts[1][c], reported=parts[2][c])
            for c in split.classes
        ]
    aside = [name for label, name in enumerate(manifest.classes) if label not in split.classes]
    return SplitSummary(
        kind=split.request.kind,
        k=split.k,
        seed=split.seed,
        groups=any(sample.group is not None for sample in manifest.samples),
        classes=tuple(manifest.classes[label] for label in split.classes),
        set_aside=tuple(aside),
        locked=sum(fold == LOCKED for fold in split.folds),
        counts=tuple(counts),
    )
