"""Stratified folds that never divide a group or a duplicate cluster; impossible wishes are refused in words."""

from collections import Counter
from collections.abc import Collection, Sequence

from aimic.domain.balance import class_units, deal, draw
from aimic.domain.cases import Case, at_least_two
from aimic.domain.column import divide
from aimic.domain.dataset import Manifest
from aimic.domain.split import ALWAYS_TRAIN, LOCKED, SET_ASIDE, FoldCount, Split, SplitRequest, SplitSummary
from aimic.domain.units import units as units_of
from aimic.errors import InvalidInputError

HOLDOUT_UNITS = 3
"""A hold-out needs one independent image of a class to report on, one to choose the epoch, one to train."""
# Purposes keep the random draws apart.
_DEAL, _INNER = 1, 2


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
    locked: Collection[int] = (),
    keys: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> Split:
    """Divide the samples as asked; the same arguments give the same split.

    `labels`, `groups`, `clusters`, `column`: one entry per sample, in manifest order. `aside`: samples that
    take no part (one picture under two labels). `locked`: samples locked by earlier jobs, which stay locked with
    all that belongs to them. `keys`: the samples' hashes; the locked part is drawn by these and never by the seed,
    so that every job locks the same. `classes`: names for messages. InvalidInputError says why a request is
    impossible and what would be possible.
    """
    names = list(classes) or [f"class {label}" for label in range(n_classes)]
    grouped = any(group is not None for group in groups)
    case = Case(labels, units_of(groups, clusters).tolist(), names, seed, keys, grouped)
    folds, inner = [SET_ASIDE] * len(labels), list[set[int]]()
    active, kept = _with_lock(case, set(range(len(labels))).difference(aside), request, locked, folds)
    if request.kind == "column":
        k, inner, kept = divide(case, active, request, column, folds, kept)
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


def _with_lock(
    case: Case, active: set[int], request: SplitRequest, earlier: Collection[int], folds: list[int]
) -> tuple[set[int], set[int]]:
    """Mark the locked part in `folds`; the samples that are left, and the classes that take part."""
    held = {case.units[sample] for sample in earlier}
    before = {sample for sample in active if case.units[sample] in held}
    kept = _classes(case, active - before, request, {case.labels[sample] for sample in before})
    active = {sample for sample in active if case.labels[sample] in kept}
    locked = before & active
    if request.lock_test:
        locked |= _lock(case, active, request, locked)
    for sample in locked:
        folds[sample] = LOCKED
    return active - locked, kept


def _classes(case: Case, active: set[int], request: SplitRequest, locked: set[int]) -> set[int]:
    """Classes with enough independent images; refuses when fewer than two are left. `locked`: classes that have
    their part of the locked ones already."""
    members = case.members(active)
    need = _without_lock(request) if locked else units_needed(request)
    what = "patients or slides" if case.grouped else "independent images"
    if len(members) < need and request.kind == "kfold":
        raise InvalidInputError(
            f"{request.k} folds can't be made from {len(members)} {what}: each fold needs at least one of its own"
            f"{', and so does the locked test part' if request.lock_test else ''}. "
            f"Ask for at most {max(len(members) - (need - request.k), 0)} folds.",
            folds=request.k,
            units=len(members),
        )
    per_class = class_units(case.counts(members))
    kept = {
        label
        for label, count in per_class.items()
        if count >= (_without_lock(request) if label in locked else units_needed(request))
    }
    at_least_two(case, kept, set(per_class) - kept, f"{need} {what}")
    return kept


def _without_lock(request: SplitRequest) -> int:
    return {"kfold": request.k, "holdout": HOLDOUT_UNITS, "column": 1}[request.kind]


def _lock(case: Case, active: set[int], request: SplitRequest, earlier: set[int]) -> set[int]:
    """The locked samples: `earlier` ones, and as many more as are asked for."""
    members = case.members(active)
    parts = list(members.values())
    before = [index for index, samples in enumerate(parts) if earlier.intersection(samples)]
    order = sorted(range(len(parts)), key=lambda index: case.place(parts[index]))
    chosen = draw(case.counts(members), request.lock_test, _without_lock(request), order, before)
    locked = {sample for index in chosen for sample in parts[index]}
    if not locked:
        raise InvalidInputError(
            "A locked test part can't be made: every patient or slide is needed for training. "
            "Leave out the locked part, or add patients."
        )
    return locked


def _by_units(case: Case, active: set[int], request: SplitRequest, folds: list[int]) -> int:
    """Fill `folds` for a k-fold or a hold-out; returns k."""
    members = case.members(active)
    counts = case.counts(members)
    if request.kind == "kfold":
        dealt, k = deal(counts, request.k, case.rng(_DEAL)), request.k
    else:
        test = set(draw(counts, request.fraction, 2, case.order(len(counts), _DEAL)))
        dealt, k = [0 if index in test else ALWAYS_TRAIN for index in range(len(counts))], 1
        if not test:
            raise InvalidInputError(
                "A hold-out can't be made without dividing a patient or slide. Add patients, or use k folds."
            )
    for samples, fold in zip(members.values(), dealt, strict=True):
        for sample in samples:
            folds[sample] = fold
    return k


def _inner(case: Case, fold: int, request: SplitRequest, folds: list[int]) -> set[int]:
    """The part of a fold's training samples that chooses its epoch."""
    training = {i for i, f in enumerate(folds) if f != fold and (f >= 0 or f == ALWAYS_TRAIN)}
    members = case.members(training)
    chosen = draw(case.counts(members), request.inner, 1, case.order(len(members), _INNER, fold))
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
