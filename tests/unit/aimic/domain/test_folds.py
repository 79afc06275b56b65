"""The promises of a split, tried on sets that nobody thought of."""

import hashlib
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from aimic.domain.dataset import Manifest, Sample
from aimic.domain.folds import make_split, summary, units_needed
from aimic.domain.split import ALWAYS_TRAIN, LOCKED, SET_ASIDE, Split, SplitRequest
from aimic.domain.units import units
from aimic.errors import InvalidInputError
from tests.unit.aimic.domain.splitting import split_of

SOME_ARE_IMPOSSIBLE = [HealthCheck.filter_too_much, HealthCheck.too_slow]


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(20, 90))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    classes = draw(st.integers(2, 4))
    grouped = draw(st.booleans())
    groups = [int(g) if rng.random() < 0.9 else None for g in rng.integers(0, max(8, n // 4), n)]
    clusters = rng.integers(0, n, n).tolist() if draw(st.booleans()) else list(range(n))
    kind = draw(st.sampled_from(["kfold", "holdout"]))
    return {
        "labels": rng.integers(0, classes, n).tolist(),
        "groups": groups if grouped else [None] * n,
        "clusters": clusters,
        "n_classes": classes,
        "request": SplitRequest(
            kind=kind, k=draw(st.integers(2, 5)), fraction=0.3, lock_test=draw(st.sampled_from([0.0, 0.2]))
        ),
        "seed": draw(st.integers(0, 1000)),
    }


def split_or_skip(case: dict[str, Any]) -> Split:
    try:
        return make_split(**case)
    except InvalidInputError:
        assume(False)
        raise


class TestInvariants:
    """True of every split that is made at all."""

    @settings(max_examples=120, deadline=None, suppress_health_check=SOME_ARE_IMPOSSIBLE)
    @given(cases())
    def test_every_sample_has_one_place_and_no_unit_two(self, case: dict[str, Any]) -> None:
        split = split_or_skip(case)
        together = units(case["groups"], case["clusters"])
        for fold in range(split.k):
            parts = [split.train(fold), split.inner[fold], split.reported(fold)]
            locked = tuple(i for i, f in enumerate(split.folds) if f == LOCKED)
            aside = tuple(i for i, f in enumerate(split.folds) if f == SET_ASIDE)
            seen = Counter(i for part in (*parts, locked, aside) for i in part)
            assert set(seen.values()) == {1}
            assert len(seen) == len(case["labels"])
            where = [set(together[list(part)].tolist()) for part in (*parts, locked)]
            assert sum(map(len, where)) == len(set().union(*where))
            assert parts[0]
            assert parts[2]

    @settings(max_examples=60, deadline=None, suppress_health_check=SOME_ARE_IMPOSSIBLE)
    @given(cases())
    def test_classes_that_take_part_have_enough_units_and_others_are_set_aside(self, case: dict[str, Any]) -> None:
        split = split_or_skip(case)
        together = units(case["groups"], case["clusters"]).tolist()
        per_class = Counter(label for label, _ in set(zip(case["labels"], together, strict=True)))
        for label, fold in zip(case["labels"], split.folds, strict=True):
            assert (fold == SET_ASIDE) == (per_class[label] < units_needed(case["request"]))
            assert (fold != SET_ASIDE) == (label in split.classes)

    @settings(max_examples=60, deadline=None, suppress_health_check=SOME_ARE_IMPOSSIBLE)
    @given(cases())
    def test_the_same_seed_gives_the_same_split(self, case: dict[str, Any]) -> None:
        assert split_or_skip(case) == make_split(**case)

    @settings(max_examples=60, deadline=None, suppress_health_check=SOME_ARE_IMPOSSIBLE)
    @given(cases())
    def test_single_images_reach_every_part_of_every_fold(self, case: dict[str, Any]) -> None:
        case |= {"groups": [None] * len(case["labels"]), "clusters": list(range(len(case["labels"])))}
        split = split_or_skip(case)
        for fold in range(split.k):
            for label in split.classes:
                here = [
                    Counter(case["labels"][i] for i in part)[label] for part in (split.train(fold), split.inner[fold])
                ]
                assert here[0] >= 1
                assert here[1] >= 1 or here[0] == 1
                assert any(case["labels"][i] == label for i in split.reported(fold))


class TestBalance:
    @pytest.mark.parametrize("k", [2, 3, 5, 10])
    def test_single_images_are_as_even_as_scikit_learns(self, k: int) -> None:
        labels = np.random.default_rng(k).choice(4, 503, p=[0.6, 0.25, 0.1, 0.05]).tolist()
        ours = split_of(labels, SplitRequest(k=k)).folds
        theirs = np.empty(len(labels), int)
        for fold, (_, test) in enumerate(StratifiedKFold(k, shuffle=True, random_state=0).split(labels, labels)):
            theirs[test] = fold
        for folds in (ours, theirs):
            table = np.zeros((k, 4), int)
            np.add.at(table, (list(folds), labels), 1)
            assert np.ptp(table, axis=0).max() <= 1
        assert max(Counter(ours).values()) - min(Counter(ours).values()) <= 1

    def test_groups_of_uneven_sizes_are_spread_well(self) -> None:
        rng = np.random.default_rng(1)
        sizes = rng.integers(5, 60, 60)
        groups = np.repeat(np.arange(60), sizes).tolist()
        labels = [int(rng.random() < (0.2 if g % 3 else 0.7)) for g in groups]
        table = np.zeros((5, 2), int)
        np.add.at(table, (list(split_of(labels, SplitRequest(k=5), groups=groups).folds), labels), 1)
        assert np.ptp(table.sum(axis=1)) <= 0.1 * len(labels) / 5
        assert np.ptp(table[:, 1] / table.sum(axis=1)) <= 0.08

    def test_a_holdout_has_its_share_of_every_class(self) -> None:
        labels = [0] * 200 + [1] * 50 + [2] * 10
        split = split_of(labels, SplitRequest(kind="holdout", fraction=0.2))
        assert Counter(labels[i] for i in split.reported(0)) == {0: 40, 1: 10, 2: 2}
        assert Counter(labels[i] for i in split.inner[0]) == {0: 16, 1: 4, 2: 1}
        assert (split.k, set(split.folds)) == (1, {0, ALWAYS_TRAIN})

    def test_the_locked_part_comes_by_group_and_first(self) -> None:
        groups = [i // 10 for i in range(400)]
        labels = [g % 2 for g in groups]
        split = split_of(labels, SplitRequest(k=4, lock_test=0.25), groups=groups)
        locked = {g for g, fold in zip(groups, split.folds, strict=True) if fold == LOCKED}
        assert len(locked) == 10
        assert not locked & {g for g, fold in zip(groups, split.folds, strict=True) if fold != LOCKED}

    def test_different_seeds_give_different_folds_and_inner_parts(self) -> None:
        groups = [i // 10 for i in range(400)]
        labels = [g % 2 for g in groups]
        for more in ({}, {"groups": groups}):
            made = [split_of(labels, SplitRequest(), seed, **more) for seed in range(5)]
            assert len({split.folds for split in made}) == 5
            assert len({split.inner for split in made}) == 5

    def test_the_time_grows_with_the_images_and_no_faster(self) -> None:
        labels = np.random.default_rng(0).integers(0, 8, 20_000).tolist()
        start = time.process_time()
        split_of(labels, SplitRequest(k=5))
        # Half a second on a free core, 2.6 s for 10⁵ images; anything quadratic takes minutes.
        assert time.process_time() - start < 4


class TestLocked:
    """One locked part for every job: neither the seed nor the folds move it."""

    labels = [0, 1] * 60
    keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(120)]

    def locked(self, request: SplitRequest, n: int = 120, **more: Any) -> set[int]:
        split = split_of(self.labels[:n], request, keys=self.keys[:n], **more)
        return {i for i, fold in enumerate(split.folds) if fold == LOCKED}

    def test_neither_seed_nor_folds_move_it(self) -> None:
        asked = [SplitRequest(k=5, lock_test=0.2), SplitRequest(kind="holdout", lock_test=0.2)]
        parts = [self.locked(request, seed=seed) for request in asked for seed in range(3)]
        assert len(parts[0]) == 24
        assert all(part == parts[0] for part in parts)

    def test_another_order_of_the_images_locks_the_same(self) -> None:
        turned = split_of(self.labels[::-1], SplitRequest(k=5, lock_test=0.2), keys=self.keys[::-1])
        assert {119 - i for i, f in enumerate(turned.folds) if f == LOCKED} == self.locked(
            SplitRequest(k=5, lock_test=0.2)
        )

    def test_what_was_locked_stays_so_when_the_set_grows_or_less_is_asked(self) -> None:
        early = self.locked(SplitRequest(k=5, lock_test=0.2), n=80)
        assert len(early) == 16
        late = self.locked(SplitRequest(k=5, lock_test=0.2), locked=early)
        assert early < late and len(late) == 24
        assert self.locked(SplitRequest(k=5, lock_test=0.05), locked=late) == late

    def test_locked_again_the_same_classes_take_part(self) -> None:
        labels = [0, 1] * 30 + [2] * 6
        split = split_of(labels, SplitRequest(k=5, lock_test=0.2), keys=self.keys[:66])
        locked = {i for i, fold in enumerate(split.folds) if fold == LOCKED}
        assert split.classes == (0, 1, 2)
        again = split_of(labels, SplitRequest(k=5, lock_test=0.2), keys=self.keys[:66], locked=locked)
        assert again == split

    def test_a_locked_image_locks_its_patient(self) -> None:
        groups = [i // 4 for i in range(120)]
        assert self.locked(SplitRequest(k=3, lock_test=0.01), groups=groups, locked=[5, 41]) >= {
            *range(4, 8),
            *range(40, 44),
        }


class TestSetAside:
    def test_a_class_with_one_image_is_set_aside_and_named(self) -> None:
        labels = [0] + [1] * 20 + [2] * 20
        split = split_of(labels, SplitRequest(k=3))
        assert split.folds[0] == SET_ASIDE
        assert split.classes == (1, 2)
        manifest = Manifest(
            classes=("basophil", "a", "b"),
            samples=tuple(Sample(sha256=f"{i:064x}", label=label, size=1) for i, label in enumerate(labels)),
        )
        told = summary(split, manifest)
        assert told.set_aside == ("basophil",)
        assert not told.groups
        assert [c.train + c.inner + c.reported for c in told.counts] == [20] * 6

    def test_many_images_of_two_patients_are_too_few_for_three_folds(self) -> None:
        groups = [i // 5 for i in range(60)] + [12] * 30 + [13] * 30
        labels = [i % 2 for i in range(60)] + [2] * 60
        assert split_of(labels, SplitRequest(k=3), groups=groups).classes == (0, 1)

    def test_samples_in_doubt_take_no_part(self) -> None:
        split = split_of([0, 1] * 20, SplitRequest(k=4), aside=[0, 3])
        assert [i for i, fold in enumerate(split.folds) if fold == SET_ASIDE] == [0, 3]

    def test_a_holdout_needs_three(self) -> None:
        labels = [0] * 2 + [1] * 3 + [2] * 30
        split = split_of(labels, SplitRequest(kind="holdout", fraction=0.2))
        assert split.classes == (1, 2)
        parts = (split.train(0), split.inner[0], split.reported(0))
        assert [sum(labels[i] == 1 for i in part) for part in parts] == [1, 1, 1]


class TestRefusals:
    def test_more_folds_than_patients(self) -> None:
        groups = [i // 10 for i in range(40)]
        with pytest.raises(InvalidInputError, match="5 folds can't be made from 4 patients or slides") as caught:
            split_of([i % 2 for i in range(40)], SplitRequest(k=5), groups=groups)
        assert "at most 4 folds" in caught.value.message

    def test_fewer_than_two_classes_left(self) -> None:
        with pytest.raises(InvalidInputError, match=r"Only many has .*too few: rare"):
            split_of([0] * 20 + [1] * 2, SplitRequest(k=5), classes=("many", "rare"))

    def test_a_locked_part_that_would_take_the_last_patient(self) -> None:
        groups = [i // 10 for i in range(40)]
        with pytest.raises(InvalidInputError, match="locked"):
            split_of([i % 2 for i in range(40)], SplitRequest(k=4, lock_test=0.2), groups=groups)
