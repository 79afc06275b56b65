"""Folds that a column of the data names."""

import pytest

from aimic.domain.split import SET_ASIDE, SplitRequest
from aimic.errors import InvalidInputError
from tests.unit.aimic.domain.splitting import split_of


class TestColumns:
    labels = [0, 1] * 30

    def test_values_in_their_natural_order_are_the_folds(self) -> None:
        column = [f"fold_{i // 2 % 3 * 5 + 1}" for i in range(60)]
        split = split_of(self.labels, SplitRequest(kind="column", column="fold"), column=column)
        order = ["fold_1", "fold_6", "fold_11"]
        assert [order[fold] for fold in split.folds] == column
        assert split.k == 3
        assert all(split.inner)

    def test_the_words_train_val_and_test_are_a_holdout(self) -> None:
        column = ["Train"] * 40 + ["val"] * 10 + ["test"] * 10
        split = split_of(self.labels, SplitRequest(kind="column", column="part"), column=column)
        assert (split.k, split.reported(0), split.inner[0]) == (1, tuple(range(50, 60)), tuple(range(40, 50)))
        assert split.train(0) == tuple(range(40))

    def test_a_patient_in_two_folds_is_refused_with_numbers(self) -> None:
        column = [str(i % 2) for i in range(60)]
        with pytest.raises(InvalidInputError, match=r"divides 30 patients.* 2 images in 0, 1"):
            split_of(
                self.labels,
                SplitRequest(kind="column", column="fold"),
                column=column,
                groups=[i // 2 for i in range(60)],
            )

    @pytest.mark.parametrize(
        ("column", "words"),
        [(None, "no column"), (["1"] * 59 + [None], "1 images have no value"), (["1"] * 60, "1 different")],
    )
    def test_a_column_that_gives_no_folds_is_refused(self, column: list[str | None] | None, words: str) -> None:
        with pytest.raises(InvalidInputError, match=words):
            split_of(self.labels, SplitRequest(kind="column", column="fold"), column=column)

    @pytest.mark.parametrize("words", [("train", "val"), ("val", "Test"), ("train", "training")])
    def test_half_a_division_by_words_is_no_two_folds(self, words: tuple[str, str]) -> None:
        column = [words[i // 2 % 2] for i in range(60)]
        with pytest.raises(InvalidInputError, match="needs both train and test"):
            split_of(self.labels, SplitRequest(kind="column", column="part"), column=column)

    def test_a_class_that_sits_in_one_fold_is_set_aside(self) -> None:
        labels = [0, 1] * 20 + [2] * 10
        column = [str(i // 2 % 4) for i in range(40)] + ["3"] * 10
        split = split_of(labels, SplitRequest(kind="column", column="fold"), column=column)
        assert split.classes == (0, 1)
        assert set(split.folds[40:]) == {SET_ASIDE}

    def test_a_class_without_training_images_chooses_no_epoch(self) -> None:
        labels = [0, 1] * 20 + [2] * 10
        column = ["train"] * 20 + ["val"] * 10 + ["test"] * 10 + ["val"] * 5 + ["test"] * 5
        split = split_of(labels, SplitRequest(kind="column", column="part"), column=column)
        assert split.classes == (0, 1)
        assert split.inner == (tuple(range(20, 30)),)
        assert set(split.folds[40:]) == {SET_ASIDE}
