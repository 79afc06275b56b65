"""Folds given by a column of the labels CSV: its values in order, or the words train, validation and test."""

import re
from collections.abc import Mapping, Sequence

from aimic.domain.cases import Case, at_least_two
from aimic.domain.split import ALWAYS_TRAIN, SET_ASIDE, SplitRequest
from aimic.errors import InvalidInputError

_PARTS = {
    **dict.fromkeys(("train", "training"), ALWAYS_TRAIN),
    **dict.fromkeys(("test", "testing"), 0),
    **dict.fromkeys(("val", "valid", "validation"), SET_ASIDE),
}


def divide(
    case: Case,
    active: set[int],
    request: SplitRequest,
    column: Sequence[str | None] | None,
    folds: list[int],
    kept: set[int],
) -> tuple[int, list[set[int]], set[int]]:
    """Fill `folds` from the column; k, the inner part if it is given too, and the classes that take part."""
    k, chooses = _by_column(case, active, request, column, folds)
    kept = _seen_twice(case, active - chooses, k, folds, kept)
    for sample in active:
        if case.labels[sample] not in kept:
            folds[sample] = SET_ASIDE
    return k, [{sample for sample in chooses if case.labels[sample] in kept}] if chooses else [], kept


def _by_column(
    case: Case, active: set[int], request: SplitRequest, column: Sequence[str | None] | None, folds: list[int]
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
    _refuse_half_a_division(parts, distinct, str(name))
    if not 2 <= len(distinct) <= 50:
        raise InvalidInputError(
            f"Column {name!r} has {len(distinct)} different values; folds need 2 to 50 "
            "(or the words train, validation and test)."
        )
    for sample, value in values.items():
        folds[sample] = distinct.index(value)
    return len(distinct), set()


def _refuse_half_a_division(parts: Mapping[str, int | None], distinct: Sequence[str], name: str) -> None:
    """Two parts of the words train, validation and test, taken for folds, would train on what is to be judged."""
    if len(distinct) > 1 and None not in parts.values():
        raise InvalidInputError(
            f"Column {name!r} says {', '.join(distinct)}, but a division by these words needs both train and test: "
            "the test images are the reported ones, validation only chooses the epoch. "
            "Name the reported images test, or number the folds."
        )


def _natural(value: str) -> list[tuple[int, int, str]]:
    """Sorts fold_2 before fold_10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", value) if part]


def _undivided(case: Case, active: set[int], values: dict[int, str], name: str) -> None:
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


def _seen_twice(case: Case, active: set[int], k: int, folds: list[int], kept: set[int]) -> set[int]:
    """With given folds, a class must be somewhere to learn from whenever it is reported."""
    places: dict[int, set[int]] = {label: set() for label in kept}
    for sample in active:
        places[case.labels[sample]].add(folds[sample])
    stay = {label for label, where in places.items() if len(where) >= 2 or (k == 1 and where == {ALWAYS_TRAIN})}
    at_least_two(case, stay, kept - stay, "images in at least two folds")
    return stay
