"""Copies: exact ones by their pixels, near ones proposed by descriptor and confirmed by registration.

A near duplicate is the same picture flipped, turned, moved by a few per cent, re-encoded, resized or made a
little brighter. A hash alone is wrong here: cells of one kind look alike (on PBC, 217 of the 269 pairs with a
64-bit dHash within 10 bits are of two classes). On PBC's 4,000 cells the best false pair correlates at 0.80, planted
copies at 0.90 and more, so that `SAME` lies between.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aimic.domain.units import Union, joined
from aimic.imaging.features import THUMB
from aimic.imaging.proposals import Proposals, between, within
from aimic.imaging.registration import detail, register
from aimic.imaging.spectrum import WIDTH, descriptors

RADIUS = 0.11
"""Descriptor distance up to which a pair is compared."""
SAME = 0.87
"""Registered correlation from which two pictures are one."""
LARGE_SHARE, LARGE_LEAST = 0.01, 12
"""A near-duplicate cluster over both (share of the set, images) is shown and not applied."""
_CHUNK = 64
"""Pictures described, or pairs registered, at once: about half a MiB each."""
_LEAST_TRIES = 2560
_TRIES = 20
"""Pairs compared per picture, over the whole set, before giving up on the rest."""


class Picture(Protocol):
    """What is needed of an image; `aimic.imaging.features.Features` has it, and so may a stored row."""

    @property
    def pixel_sha256(self) -> str:
        """Identity of the decoded pixels."""

    @property
    def thumb(self) -> bytes:
        """48×48×3 sRGB."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples that show one picture, and how that is known."""

    first: int
    second: int
    correlation: float
    """Registered correlation of the fine detail; 1 for equal pixels."""
    turn: int = 0
    """Quarter turns 0…3 that bring the second over the first, plus 4 when it is mirrored first."""
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Clusters:
    """The copies within a set."""

    ids: tuple[int, ...]
    """Per sample, dense from 0 in order of first appearance: samples that must stay together."""
    exact: tuple[Pair, ...]
    """Each copy with the first of its kind."""
    near: tuple[Pair, ...]
    """Confirmed pairs, best first; links enough to hold every cluster together, not all that there are."""
    oversized: tuple[tuple[int, ...], ...]
    """Clusters too large to be believed: shown, but their near links are not in `ids`."""
    complete: bool
    """False when so many pictures look alike that not every proposed pair was compared."""


def clusters(pictures: Sequence[Picture]) -> Clusters:
    """Find exact and near duplicates among n pictures."""
    exact, unique = _exact(pictures)
    kinds = [pictures[index] for index in unique]
    confirmed, complete = _confirm(kinds, kinds, within(_descriptors(kinds), RADIUS), chained=True)
    near = tuple(Pair(unique[p.first], unique[p.second], p.correlation, p.turn) for p in confirmed)
    exact_links = [(pair.first, pair.second) for pair in exact]
    oversized = _oversized(len(pictures), exact_links, near)
    doubted = {sample for members in oversized for sample in members}
    links = [(pair.first, pair.second) for pair in near if pair.first not in doubted]
    ids = joined(len(pictures), [*exact_links, *links])
    return Clusters(tuple(ids.tolist()), exact, near, oversized, complete)


def matches(queries: Sequence[Picture], references: Sequence[Picture]) -> tuple[Pair, ...]:
    """Pairs (query, reference) that show one picture: what a model has seen of a new set.

    Every query that has a copy among the references is in at least one pair.
    """
    first = {picture.pixel_sha256: index for index, picture in reversed(list(enumerate(references)))}
    exact = [
        Pair(index, first[picture.pixel_sha256], 1.0, exact=True)
        for index, picture in enumerate(queries)
        if picture.pixel_sha256 in first
    ]
    known = {pair.first for pair in exact}
    others = [index for index in range(len(queries)) if index not in known]
    if not others or not references:
        return tuple(exact)
    asked = [queries[index] for index in others]
    proposals = between(_descriptors(asked), _descriptors(references), RADIUS)
    confirmed, _ = _confirm(asked, references, proposals, chained=False)
    near = [Pair(others[pair.first], pair.second, pair.correlation, pair.turn) for pair in confirmed]
    return (*exact, *near)


def _exact(pictures: Sequence[Picture]) -> tuple[tuple[Pair, ...], list[int]]:
    first: dict[str, int] = {}
    pairs = []
    for index, picture in enumerate(pictures):
        original = first.setdefault(picture.pixel_sha256, index)
        if original != index:
            pairs.append(Pair(original, index, 1.0, exact=True))
    return tuple(pairs), list(first.values())


def _thumbs(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    """[n, 48, 48, 3] of a few pictures: of a hundred thousand they are too many to hold at once."""
    data = b"".join(picture.thumb for picture in pictures)
    return np.frombuffer(data, np.uint8).reshape(len(pictures), THUMB, THUMB, 3).astype(np.float32)


def _descriptors(pictures: Sequence[Picture]) -> NDArray[np.float32]:
    rows = np.empty((len(pictures), WIDTH), np.float32)
    for start in range(0, len(pictures), _CHUNK):
        rows[start : start + _CHUNK] = descriptors(_thumbs(pictures[start : start + _CHUNK]))
    return rows


def _confirm(
    left: Sequence[Picture], right: Sequence[Picture], proposals: Proposals, *, chained: bool
) -> tuple[list[Pair], bool]:
    """The proposed pairs that are one picture, best first; nearest are compared first.

    `chained`: a pair already joined through others isn't compared again. Otherwise one match per query is enough.
    """
    union = Union(len(left) + (0 if chained else len(right)))
    offset = 0 if chained else len(left)
    budget = max(_TRIES * len(left), _LEAST_TRIES)
    found: list[Pair] = []
    matched: set[int] = set()
    for start in range(0, len(proposals.first), _CHUNK):
        chosen = [
            (i, j)
            for i, j in zip(
                proposals.first[start : start + _CHUNK].tolist(),
                proposals.second[start : start + _CHUNK].tolist(),
                strict=True,
            )
            if union.find(i) != union.find(j + offset) and (chained or i not in matched)
        ]
        budget -= len(chosen)
        if budget < 0:
            return sorted(found, key=_best_first), False
        for pair in _same(left, right, chosen):
            found.append(pair)
            matched.add(pair.first)
            union.join(pair.first, pair.second + offset)
    return sorted(found, key=_best_first), True


def _best_first(pair: Pair) -> tuple[float, int, int]:
    return (-pair.correlation, pair.first, pair.second)


def _same(left: Sequence[Picture], right: Sequence[Picture], pairs: list[tuple[int, int]]) -> list[Pair]:
    if not pairs:
        return []
    first = _thumbs([left[i] for i, _ in pairs])
    fit = register(detail(first), detail(_thumbs([right[j] for _, j in pairs])))
    return [
        Pair(i, j, round(float(fit.correlation[n]), 4), int(fit.turn[n]))
        for n, (i, j) in enumerate(pairs)
        if fit.correlation[n] >= SAME
    ]


def _oversized(n: int, exact: list[tuple[int, int]], near: Sequence[Pair]) -> tuple[tuple[int, ...], ...]:
    """Clusters over the limit that near links hold together."""
    ids = joined(n, [*exact, *((pair.first, pair.second) for pair in near)])
    members: dict[int, list[int]] = defaultdict(list)
    for sample, cluster in enumerate(ids.tolist()):
        members[cluster].append(sample)
    linked = {int(ids[pair.first]) for pair in near}
    limit = max(LARGE_SHARE * n, LARGE_LEAST)
    return tuple(tuple(members[c]) for c in sorted(linked) if len(members[c]) > limit)
