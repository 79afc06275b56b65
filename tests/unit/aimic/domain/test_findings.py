"""What a person is told before training, and that they are told nothing when all is well."""

import time
from typing import Any

import pytest

from aimic.domain.dataset import Finding, Level
from aimic.domain.findings import Facts, conflicting, findings


def found(needed: int = 3, **facts: Any) -> dict[str, Finding]:
    """Findings by code, on six healthy images of two classes unless `facts` says otherwise."""
    known: dict[str, Any] = {
        "classes": ("NEU", "LYM"),
        "labels": [0, 0, 0, 1, 1, 1],
        "groups": [0, 1, 2, 0, 1, 2],
        "sizes": [(120, 120)] * 6,
        "media_types": ["image/bmp"] * 6,
        "names": [[f"x/{i}.bmp"] for i in range(6)],
    }
    told = findings(Facts(**(known | facts)), needed)
    assert len({finding.code for finding in told}) == len(told)
    return {finding.code: finding for finding in told}


def test_a_healthy_set_is_met_with_silence() -> None:
    assert found() == {}


class TestClasses:
    def test_a_class_with_fewer_images_than_folds_is_set_aside_by_name(self) -> None:
        told = found(
            classes=("NEU", "LYM", "basophil"), labels=[0, 0, 0, 1, 1, 1, 2], groups=[0, 1, 2, 0, 1, 2, 0], names=()
        )
        assert "basophil (1 image)" in told["too_few_images"].message
        assert told["too_few_images"].details["classes"] == ["basophil"]

    def test_images_of_one_patient_are_one_independent_look(self) -> None:
        told = found(groups=[0, 1, 2, 3, 3, 3])
        assert "LYM (3 images)" in told["too_few_images"].message
        assert "share no patient" in told["too_few_images"].message
        assert "only 1 can take part" in told["one_class"].message

    def test_imbalance_is_told_with_both_numbers(self) -> None:
        told = found(labels=[0] * 90 + [1] * 30, groups=list(range(60)) * 2, names=(), sizes=(), media_types=())
        assert told["imbalance"].details["ratio"] == 3
        assert "NEU has 90 images, LYM only 30" in told["imbalance"].message


def test_ten_thousand_pairs_are_told_in_no_time() -> None:
    n = 10_000
    pairs = [(i, i + 1) for i in range(n - 1)]
    start = time.process_time()
    told = found(labels=[i % 2 for i in range(n)], groups=list(range(n)), names=(), sizes=(), near=pairs)
    assert told["near_duplicates_across_classes"].details["count"] == n - 1
    # A tenth of a second on a free core; with a set made anew for each pair, seconds.
    assert time.process_time() - start < 1.5


class TestCopies:
    def test_two_files_with_the_same_bytes_are_one_picture_with_two_names(self) -> None:
        told = found(names=[["n/112.bmp", "n/139.bmp"], *([[f"{i}.bmp"] for i in range(5)])])
        assert "1 picture is there more than once: 112.bmp = 139.bmp" in told["exact_duplicates"].message

    def test_copies_are_listed_by_picture(self) -> None:
        told = found(exact=[(0, 1), (0, 2), (3, 4)])
        assert told["exact_duplicates"].details["examples"] == ["0.bmp = 1.bmp = 2.bmp", "3.bmp = 4.bmp"]
        assert told["exact_duplicates"].message.startswith("2 pictures are there more than once")

    def test_one_picture_under_two_labels_is_set_aside(self) -> None:
        told = found(exact=[(2, 3), (0, 1)])
        across = told["exact_duplicates_across_classes"]
        assert "2.bmp = 3.bmp (NEU / LYM)" in across.message
        assert "set aside until a person decides" in across.message
        assert told["exact_duplicates"].details["count"] == 1
        assert conflicting(Facts(("NEU", "LYM"), [0, 0, 0, 1, 1, 1], exact=[(2, 3), (0, 1)])) == (2, 3)

    def test_one_file_in_two_folders_is_under_two_labels_too(self) -> None:
        told = found(other_labels={1: [1]}, names=[["0"], ["NEU/1.bmp", "LYM/1.bmp"], *([[str(i)] for i in range(4)])])
        assert set(told) == {"exact_duplicates_across_classes"}
        assert conflicting(Facts(("NEU", "LYM"), [0, 0, 1], other_labels={1: [1]})) == (1,)

    def test_near_copies_are_told_apart_by_label(self) -> None:
        told = found(near=[(0, 1), (2, 3)])
        assert "0.bmp ≈ 1.bmp" in told["near_duplicates"].message
        assert "2.bmp ≈ 3.bmp" in told["near_duplicates_across_classes"].message
        assert "probably wrong" in told["near_duplicates_across_classes"].message

    def test_a_cluster_too_large_to_believe_is_shown_and_its_pairs_are_not(self) -> None:
        told = found(near=[(0, 1), (1, 2)], oversized=[(0, 1, 2)])
        assert set(told) == {"large_cluster"}
        assert told["large_cluster"].details["count"] == 3

    def test_without_names_an_image_is_called_by_its_number(self) -> None:
        assert "image 1 ≈ image 2" in found(near=[(0, 1)], names=())["near_duplicates"].message


class TestGroups:
    def test_no_groups(self) -> None:
        told = found(groups=[None] * 6)
        assert "new patients will not be known" in told["no_groups"].message

    def test_some_images_without_a_group(self) -> None:
        assert found(groups=[0, 1, None, 0, 1, 2])["some_without_group"].details["count"] == 1

    @pytest.mark.parametrize(
        ("groups", "level", "count"), [([0, 1, 2, 3, 4, 5], Level.WARNING, 6), ([0, 1, 2, 0, 1, 3], Level.WARNING, 2)]
    )
    def test_groups_that_sit_in_one_class(self, groups: list[int], level: Level, count: int) -> None:
        told = found(groups=groups)["groups_in_one_class"]
        assert (told.level, told.details["count"]) == (level, count)

    def test_a_few_of_many_are_told_more_quietly(self) -> None:
        told = found(labels=[0, 1] * 6, groups=[i // 2 for i in range(10)] + [5, 6], names=(), sizes=(), media_types=())
        assert told["groups_in_one_class"].level is Level.INFO


class TestFormats:
    def test_mixed_sizes_and_types(self) -> None:
        told = found(sizes=[(120, 120)] * 4 + [(88, 90), (200, 100)], media_types=["image/bmp"] * 5 + ["image/jpeg"])
        assert "from 88×90 to 200×100 pixels; 4 of 6 are 120×120" in told["mixed_sizes"].message
        assert "5 BMP, 1 JPEG" in told["mixed_file_types"].message
