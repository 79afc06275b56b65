"""Planted shortcuts are warned of with their number; where there is none, nothing is said."""

import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from aimic.domain.folds import make_split
from aimic.domain.split import LOCKED, SplitRequest
from aimic.imaging.discriminant import Discriminant, NormalScores, products
from aimic.imaging.shortcuts import ShortcutResult, shortcut_test


@dataclass(frozen=True)
class Surface:
    """An image besides its cells."""

    border: tuple[float, ...]
    width: int = 360
    height: int = 363
    encoder: str = "jpeg q≈92 4:2:0"


def drawn(n: int, classes: int, seed: int) -> tuple[list[Surface], list[int]]:
    rng = np.random.default_rng(seed)
    surfaces = [Surface(tuple(rng.normal([200, 190, 180, 12, 11, 10], 6))) for _ in range(n)]
    return surfaces, rng.integers(0, classes, n).tolist()


def judged(surfaces: list[Surface], labels: list[int], seed: int = 0) -> ShortcutResult:
    n = len(labels)
    split = make_split(labels, [None] * n, range(n), max(labels) + 1, SplitRequest(k=4), seed)
    return shortcut_test(surfaces, labels, range(n), split.folds, seed)


def warned(result: ShortcutResult) -> list[str]:
    return [finding.code for finding in result.findings()]


class TestPlanted:
    def test_a_brighter_border_of_one_class(self) -> None:
        surfaces, labels = drawn(240, 3, 0)
        brighter = [
            replace(s, border=(s.border[0] + 15, *s.border[1:])) if label == 1 else s
            for s, label in zip(surfaces, labels, strict=True)
        ]
        result = judged(brighter, labels)
        assert warned(result) == ["shortcut_border"]
        score = result.scores[0]
        assert score.chance == pytest.approx(1 / 3)
        assert 0.45 < score.balanced_accuracy < 0.8
        assert f"{score.balanced_accuracy:.0%}" in result.findings()[0].message

    def test_colours_that_only_vary_more(self) -> None:
        surfaces, labels = drawn(400, 2, 1)
        rng = np.random.default_rng(0)
        wider = [
            replace(s, border=(200 + rng.choice([-20, 20]), *s.border[1:])) if label else s
            for s, label in zip(surfaces, labels, strict=True)
        ]
        assert warned(judged(wider, labels)) == ["shortcut_border"]

    def test_one_class_has_another_size(self) -> None:
        surfaces, labels = drawn(160, 2, 2)
        sized = [replace(s, width=400) if label else s for s, label in zip(surfaces, labels, strict=True)]
        result = judged(sized, labels)
        assert warned(result) == ["shortcut_size"]
        assert next(s for s in result.scores if s.kind == "size").balanced_accuracy == 1

    @pytest.mark.parametrize("encoder", ["png 8-bit rgb", "jpeg q≈75 4:2:0"])
    def test_one_class_has_another_file_type_or_setting(self, encoder: str) -> None:
        surfaces, labels = drawn(160, 2, 3)
        typed = [replace(s, encoder=encoder) if label else s for s, label in zip(surfaces, labels, strict=True)]
        assert warned(judged(typed, labels)) == ["shortcut_file"]

    def test_only_together(self) -> None:
        surfaces, labels = drawn(600, 2, 4)
        rng = np.random.default_rng(4)
        wide = rng.integers(0, 2, 600).astype(bool)
        both = [
            replace(s, width=400 if w else 360, border=(200 + (15 if w == bool(label) else -15), *s.border[1:]))
            for s, label, w in zip(surfaces, labels, wide.tolist(), strict=True)
        ]
        result = judged(both, labels)
        assert warned(result) == ["shortcut_all"]


class TestNotPlanted:
    def test_no_warning_in_95_of_100_sets(self) -> None:
        told = 0
        for seed in range(40):
            surfaces, labels = drawn(120, 3, seed)
            rng = np.random.default_rng(seed)
            mixed = [
                replace(s, width=int(rng.choice([350, 360])), encoder=str(rng.choice(["bmp 24-bit", "png 8-bit rgb"])))
                for s in surfaces
            ]
            told += bool(judged(mixed, labels, seed).findings())
        assert told <= 2

    def test_patients_with_colours_of_their_own_are_no_shortcut(self) -> None:
        told = 0
        for seed in range(30):
            rng = np.random.default_rng(seed)
            groups = np.repeat(np.arange(30), 8).tolist()
            labels = [g % 2 for g in groups]
            colours = rng.normal(200, 20, (30, 6))
            surfaces = [Surface(tuple(colours[g] + rng.normal(0, 2, 6))) for g in groups]
            split = make_split(labels, groups, range(240), 2, SplitRequest(k=5), seed)
            told += bool(shortcut_test(surfaces, labels, groups, split.folds, seed).findings())
        assert told <= 4


class TestWhatIsJudged:
    def test_samples_that_take_no_part_are_not_looked_at(self) -> None:
        surfaces, labels = drawn(120, 2, 0)
        folds = [i % 3 for i in range(120)] + [LOCKED] * 40
        alone = shortcut_test(surfaces, labels, range(120), folds[:120])
        locked = [Surface((0.0,) * 6, width=9)] * 40
        assert shortcut_test([*surfaces, *locked], [*labels, *([1] * 40)], range(160), folds) == alone

    def test_a_holdout_is_judged_on_its_held_out_part(self) -> None:
        surfaces, labels = drawn(200, 2, 0)
        split = make_split(labels, [None] * 200, range(200), 2, SplitRequest(kind="holdout", fraction=0.3), 0)
        assert len(shortcut_test(surfaces, labels, range(200), split.folds).scores) == 1

    def test_nothing_that_varies_and_one_class_give_no_score(self) -> None:
        same = [Surface((1.0,) * 6)] * 40
        assert judged(same, [0, 1] * 20).scores == ()
        assert shortcut_test(same, [0] * 40, range(40), [i % 2 for i in range(40)]).scores == ()

    def test_few_patients_give_a_wide_interval(self) -> None:
        surfaces, labels = drawn(100, 2, 0)
        units = [i // 10 for i in range(100)]
        low, high = shortcut_test(surfaces, labels, units, [i // 20 for i in range(100)]).scores[0].interval
        assert high - low > 0.4

    def test_the_same_seed_gives_the_same_result(self) -> None:
        surfaces, labels = drawn(100, 2, 0)
        assert judged(surfaces, labels) == judged(surfaces, labels)

    def test_four_thousand_images_take_seconds(self) -> None:
        surfaces, labels = drawn(4000, 8, 0)
        start = time.process_time()
        judged(surfaces, labels)
        # 0.5 s on a free core of the build machine.
        assert time.process_time() - start < 5


class TestDiscriminant:
    def test_it_is_fishers_with_a_little_shrinkage(self) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 600)
        rows = rng.normal(0, 1, (600, 4)) + np.eye(4)[labels] * 2
        theirs = LinearDiscriminantAnalysis(priors=np.ones(3) / 3).fit(rows, labels).predict(rows)
        ours = Discriminant([(rows[:70], labels[:70]), (rows[70:], labels[70:])], 3)
        assert np.mean(ours.predict(rows) == theirs) > 0.99

    def test_scores_follow_ranks_so_that_outliers_and_units_do_not_matter(self) -> None:
        train, test = np.random.default_rng(0).normal(0, 1, (2, 200, 2))
        known, stretched = NormalScores(train), NormalScores(np.exp(3 * train))
        for rows in (train, test):
            ours, theirs = products(known(rows)), products(stretched(np.exp(3 * rows)))
            assert ours.shape == (200, 5)
            assert np.corrcoef(ours[:, 0], theirs[:, 0])[0, 1] > 0.99
