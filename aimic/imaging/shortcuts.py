"""Could a network tell the classes without looking at the cells?

On the given folds, a simple classifier sees only the border's colours, only the size, only the file type and
encoder settings, or all of them. Where it beats chance, so can a network, and its accuracy is partly that.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aimic.domain.dataset import Finding
from aimic.domain.intervals import exact_interval
from aimic.domain.split import ALWAYS_TRAIN
from aimic.imaging.discriminant import Discriminant, quadratic

Floats = NDArray[np.float64]
DRAWS = 4000
TAIL = 0.025 / 8
"""Four questions are asked, and the bootstrap is a little narrow on small sets: with this much on either side, 95 of
100 drawn sets without a shortcut get no warning at all."""
FEW_UNITS = 80
"""Below, the bootstrap warns of shortcuts that aren't there (in 8 to 10 of 100 drawn sets of 16 to 70 patients)."""
_COMMON = 24
"""Values of a category that are told apart; the rarer ones are one."""
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
    seen = [surfaces[i] for i in part.tolist()]
    kinds: list[tuple[str, Floats, Floats]] = []
    for kind, numbers, category in (("border", _border, None), ("size", _size, None), ("file", None, _file)):
        kinds.append((kind, _numbers(seen, numbers), _categories(seen, category)))
    varying = [(kind, x, c) for kind, x, c in kinds if x.shape[1] + c.shape[1]]
    if len(varying) > 1:
        varying.append(("all", np.hstack([x for _, x, _ in varying]), np.hstack([c for _, _, c in varying])))
    member = np.unique(np.asarray(units)[part], return_inverse=True)[1]
    judged = [_score(kind, _predict(x, c, truth, fold_of), truth, fold_of, member, seed) for kind, x, c in varying]
    return ShortcutResult(tuple(score for score in judged if score is not None))


def _border(surface: Surface) -> Sequence[float]:
    return surface.border


def _size(surface: Surface) -> Sequence[float]:
    return (surface.width, surface.height, surface.width / surface.height)


def _file(surface: Surface) -> str:
    return surface.encoder


def _numbers(surfaces: Sequence[Surface], of: Callable[[Surface], Sequence[float]] | None) -> Floats:
    """[n, d], constant columns left out."""
    if of is None:
        return np.empty((len(surfaces), 0))
    table = np.array([of(surface) for surface in surfaces], dtype=np.float64)
    varying: Floats = table[:, np.ptp(table, axis=0) > 0]
    return varying


def _categories(surfaces: Sequence[Surface], of: Callable[[Surface], str] | None) -> Floats:
    """[n, values] one column per common value and per word of it; none when all are the same."""
    if of is None:
        return np.empty((len(surfaces), 0))
    values = [of(surface) for surface in surfaces]
    words = Counter(word for value in values for word in {value, *value.split()})
    common = [word for word, count in words.most_common(_COMMON) if count < len(values)]
    columns = [[word == value or word in value.split() for value in values] for word in sorted(common)]
    return np.array(columns, dtype=np.float64).reshape(len(columns), len(values)).T


def _predict(
    numbers: Floats, categories: Floats, truth: NDArray[np.intp], folds: NDArray[np.int64]
) -> NDArray[np.intp]:
    """[n] out-of-fold class; samples that are never reported keep -1."""
    predicted = np.full(len(truth), -1, dtype=np.intp)
    for fold in range(int(folds.max(initial=-1)) + 1):
        test, train = folds == fold, folds != fold
        if test.any() and train.any():
            fit, judge = quadratic(numbers[train], numbers[test])
            model = Discriminant(np.hstack([fit, categories[train]]), truth[train])
            predicted[test] = model.predict(np.hstack([judge, categories[test]]))
    return predicted


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
    drawn = np.random.default_rng([seed, n]).multinomial(n, alike / n, size=DRAWS).astype(np.float64) @ kinds
    classes = count.shape[1]
    low, high = np.quantile(_balanced(drawn[:, classes:], drawn[:, :classes]), [TAIL, 1 - TAIL]).tolist()
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
