"""Could a network tell the classes without looking at the cells?

On the given folds, a simple classifier sees only the border's colours, only the size, only the file type and
encoder settings, or all of them. Where it beats chance, so can a network, and its accuracy is partly that.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aimic.domain.dataset import Finding
from aimic.domain.intervals import exact_interval
from aimic.domain.split import ALWAYS_TRAIN
from aimic.imaging.discriminant import Discriminant, NormalScores, products

Floats = NDArray[np.float64]
DRAWS = 4000
TAIL = 0.025 / 8
"""Four questions are asked, and the bootstrap is a little narrow on small sets: with this much on either side, 95 of
100 drawn sets without a shortcut get no warning at all."""
FEW_UNITS = 80
"""Below, the bootstrap warns of shortcuts that aren't there (in 8 to 10 of 100 drawn sets of 16 to 70 patients)."""
_COMMON = 24
"""Values of a category that are told apart; the rarer ones are one."""
_BORDER = 6
_BLOCK = 4096
"""Images whose products are there at once."""
_AT_ONCE = 1 << 20
"""Drawn counts that are there at once."""
_WORDS = {
    "border": "the colours along the image's border alone tell",
    "size": "the image's size alone tells",
    "file": "the file type and encoder settings alone tell",
    "all": "border colours, size and file type together tell",
}


class Surface(Protocol):
    """What is known of an image besides its cells."""

    @property
    def border(self) -> Sequence[float]:
        """Means and standard deviations of the border's red, green, blue."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def encoder(self) -> str:
        """File type and encoder settings as received, such as `jpeg q≈92 4:2:0`."""


@dataclass(frozen=True, slots=True)
class ShortcutScore:
    """How far one kind of surface gets."""

    kind: str
    """border, size, file or all."""
    balanced_accuracy: float
    interval: tuple[float, float]
    """By bootstrap over units, wide enough to hold for all kinds together in 95 %."""
    chance: float

    @property
    def warned(self) -> bool:
        """Whether the interval lies above chance."""
        return self.interval[0] > self.chance


@dataclass(frozen=True, slots=True)
class ShortcutResult:
    """One score per kind that varies at all; none when nothing could be judged."""

    scores: tuple[ShortcutScore, ...]

    def findings(self) -> tuple[Finding, ...]:
        """A warning per kind that beats chance; `all` only where no single kind does."""
        warned = [score for score in self.scores if score.warned]
        single = [score for score in warned if score.kind != "all"]
        return tuple(_finding(score) for score in single or warned)


def shortcut_test(
    surfaces: Sequence[Surface],
    labels: Sequence[int],
    units: Sequence[int],
    folds: Sequence[int],
    seed: int = 0,
) -> ShortcutResult:
    """Judge every kind of surface on the folds of a split (`Split.folds`; samples that take no part are skipped).

    One entry per sample. `units`: samples that belong together (`aimic.domain.units.units`). The same arguments
    give the same result.
    """
    fold_of = np.asarray(folds, dtype=np.int64)
    part = np.flatnonzero((fold_of >= 0) | (fold_of == ALWAYS_TRAIN))
    truth, fold_of = np.asarray(labels, dtype=np.int64)[part], fold_of[part]
    classes, truth = np.unique(truth, return_inverse=True)
    if len(classes) < 2:
        return ShortcutResult(())
    table = _Table([surfaces[i] for i in part.tolist()] if len(part) < len(surfaces) else surfaces)
    member = np.unique(np.asarray(units)[part], return_inverse=True)[1]
    predicted = _predict(table, table.kinds(), truth, fold_of)
    judged = [_score(kind, found, truth, fold_of, member, seed) for kind, found in predicted.items()]
    return ShortcutResult(tuple(score for score in judged if score is not None))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What one of the classifiers sees."""

    columns: tuple[int, ...]
    """Of the numbers."""
    encoder: bool


class _Table:
    """The surfaces of n images as columns."""

    def __init__(self, surfaces: Sequence[Surface]) -> None:
        n = len(surfaces)
        self.numbers = np.empty((n, _BORDER + 3))
        """Border colours, width, height, their ratio."""
        self._code = np.empty(n, np.int32)
        codes: dict[str, int] = {}
        for index, surface in enumerate(surfaces):
            width, height = surface.width, surface.height
            self.numbers[index] = (*surface.border, width, height, width / height)
            self._code[index] = codes.setdefault(surface.encoder, len(codes))
        self._member = _words(list(codes), np.bincount(self._code, minlength=len(codes)).tolist())

    def kinds(self) -> dict[str, _Kind]:
        """What varies at all; constant columns are left out."""
        varying = np.flatnonzero(np.ptp(self.numbers, axis=0) > 0).tolist()
        border, size = tuple(c for c in varying if c < _BORDER), tuple(c for c in varying if c >= _BORDER)
        file = bool(self._member.shape[1])
        found = {"border": _Kind(border, False), "size": _Kind(size, False), "file": _Kind((), file)}
        found = {name: kind for name, kind in found.items() if kind.columns or kind.encoder}
        return found | ({"all": _Kind((*border, *size), file)} if len(found) > 1 else {})

    def rows(self, kind: _Kind, scores: Floats, which: NDArray[np.intp]) -> Floats:
        """[m, d] of the images `which`; `scores` [n, columns] are those of the numbers."""
        seen = products(scores[which][:, list(kind.columns)])
        return np.hstack([seen, self._member[self._code[which]]]) if kind.encoder else seen


def _words(values: Sequence[str], times: Sequence[int]) -> Floats:
    """[values, words] whether a value is or has each of the common words; words that all have are left out."""
    words: Counter[str] = Counter()
    for value, count in zip(values, times, strict=True):
        words.update(dict.fromkeys({value, *value.split()}, count))
    n = sum(times)
    often = sorted(words, key=lambda word: (-words[word], word))[:_COMMON]
    common = sorted(word for word in often if words[word] < n)
    found = [[word == value or word in value.split() for word in common] for value in values]
    return np.array(found, dtype=np.float64).reshape(len(values), len(common))


def _predict(
    table: _Table, kinds: Mapping[str, _Kind], truth: NDArray[np.intp], folds: NDArray[np.int64]
) -> dict[str, NDArray[np.intp]]:
    """Per kind, [n] out-of-fold class; samples that are never reported keep -1."""
    predicted = {name: np.full(len(truth), -1, dtype=np.intp) for name in kinds}
    classes = int(truth.max()) + 1
    for fold in range(int(folds.max(initial=-1)) + 1):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if not (len(test) and len(train)):
            continue
        scores = NormalScores(table.numbers[train])(table.numbers)
        for name, kind in kinds.items():
            rows = partial(table.rows, kind, scores)
            model = Discriminant(((rows(part), truth[part]) for part in _blocks(train)), classes)
            for part in _blocks(test):
                predicted[name][part] = model.predict(rows(part))
    return predicted


def _blocks(which: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    return (which[start : start + _BLOCK] for start in range(0, len(which), _BLOCK))


def _score(
    kind: str,
    predicted: NDArray[np.intp],
    truth: NDArray[np.intp],
    folds: NDArray[np.int64],
    units: NDArray[np.intp],
    seed: int,
) -> ShortcutScore | None:
    judged = (folds >= 0) & (predicted >= 0)
    if not judged.any():
        return None
    classes = int(truth.max()) + 1
    units = np.unique(units[judged], return_inverse=True)[1]
    count = np.zeros((int(units.max()) + 1, classes))
    hits = np.zeros_like(count)
    np.add.at(count, (units, truth[judged]), 1)
    np.add.at(hits, (units, truth[judged]), predicted[judged] == truth[judged])
    accuracy = float(_balanced(hits.sum(axis=0)[None], count.sum(axis=0)[None])[0])
    return ShortcutScore(kind, accuracy, _interval(accuracy, hits, count, seed), 1 / classes)


def _interval(accuracy: float, hits: Floats, count: Floats, seed: int) -> tuple[float, float]:
    n = len(count)
    if n < FEW_UNITS:
        return exact_interval(accuracy * n, n, TAIL)
    # Units alike in counts and hits are drawn together, which makes 10⁵ units as quick as ten.
    kinds, alike = np.unique(np.hstack([count, hits]), axis=0, return_counts=True)
    rng, classes = np.random.default_rng([seed, n]), count.shape[1]
    found = np.empty(DRAWS)
    step = max(1, _AT_ONCE // len(kinds))
    for start in range(0, DRAWS, step):
        drawn = rng.multinomial(n, alike / n, size=min(step, DRAWS - start)).astype(np.float64) @ kinds
        found[start : start + step] = _balanced(drawn[:, classes:], drawn[:, :classes])
    low, high = np.quantile(found, [TAIL, 1 - TAIL]).tolist()
    return low, high


def _balanced(hits: Floats, count: Floats) -> Floats:
    """[draws] mean recall over the classes that are present."""
    recall = np.divide(hits, count, out=np.zeros_like(hits), where=count > 0)
    mean: Floats = recall.sum(axis=1) / np.maximum((count > 0).sum(axis=1), 1)
    return mean


def _finding(score: ShortcutScore) -> Finding:
    low, high = score.interval
    return Finding(
        code=f"shortcut_{score.kind}",
        message=(
            f"Shortcut: {_WORDS[score.kind]} the classes apart in {score.balanced_accuracy:.0%} of cases "
            f"(95 % interval {low:.0%} to {high:.0%}) where chance is {score.chance:.1%}. A network can learn this "
            "instead of the cells; check it on images from another source."
        ),
        details={
            "balanced_accuracy": round(score.balanced_accuracy, 4),
            "interval": [round(low, 4), round(high, 4)],
            "chance": round(score.chance, 4),
        },
    )
