"""Our numbers are scikit-learn's."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from aimic.domain.base import canonical_json
from aimic.domain.metrics import log_softmax, mean_and_sd, report, scores

CLASSES = ("a", "b", "c", "d")


def drawn(seed: int, n: int, present: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, present, n)
    logits = rng.normal(0, 2, (n, 4))
    logits[np.arange(n), labels] += rng.random() * 3
    return labels, logits


class TestAgainstScikitLearn:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 4))
    def test_every_value_to_a_billionth(self, seed: int, n: int, present: int) -> None:
        labels, logits = drawn(seed, n, present)
        ours, predicted, options = (
            scores(labels, logits),
            logits.argmax(axis=1),
            {"labels": range(4), "zero_division": 0},
        )
        precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predicted, **options)
        assert ours.accuracy == pytest.approx(sk.accuracy_score(labels, predicted), abs=1e-9)
        assert ours.macro_precision == pytest.approx(precision.mean(), abs=1e-9)
        assert ours.macro_recall == pytest.approx(recall.mean(), abs=1e-9)
        assert ours.macro_f1 == pytest.approx(f1.mean(), abs=1e-9)
        np.testing.assert_allclose(ours.f1, f1, atol=1e-9)
        np.testing.assert_allclose(ours.precision, precision, atol=1e-9)
        np.testing.assert_array_equal(ours.confusion, sk.confusion_matrix(labels, predicted, labels=range(4)))
        expected = sk.log_loss(labels, np.exp(log_softmax(logits)), labels=range(4))
        assert ours.loss == pytest.approx(expected, abs=1e-9)

    def test_balanced_accuracy_is_over_the_classes_that_are_there(self) -> None:
        labels = np.array([0] * 30 + [2] * 10)
        logits = np.random.default_rng(0).normal(0, 1, (40, 4))
        logits[:, [1, 3]] -= 100
        expected = sk.balanced_accuracy_score(labels, logits.argmax(axis=1))
        assert scores(labels, logits).balanced_accuracy == pytest.approx(expected, abs=1e-12)

    def test_log_probabilities_serve_as_logits_and_huge_logits_stay_finite(self) -> None:
        labels, logits = drawn(1, 20)
        assert scores(labels, log_softmax(logits)).loss == pytest.approx(scores(labels, logits).loss, abs=1e-12)
        assert scores([1], [[1e4, 0.0]]).loss == pytest.approx(1e4)


class TestWhatIsNotThere:
    def test_an_absent_class_has_dashes_and_still_counts_in_the_macro_value(self) -> None:
        found = scores([0, 1], np.eye(4)[[0, 1]])
        rows = found.per_class(CLASSES)
        assert rows[2] == {"label": "c", "precision": None, "recall": None, "f1": None, "support": 0}
        assert found.macro_f1 == 0.5

    def test_no_samples_give_no_values(self) -> None:
        found = scores([], np.empty((0, 4)))
        assert (found.n, found.accuracy, found.loss, found.macro_f1) == (0, None, None, None)

    @pytest.mark.parametrize("logits", [[[math.nan, 0.0]], [[0.0, math.inf]], [0.0, 1.0]])
    def test_what_is_no_table_of_numbers_is_refused(self, logits: object) -> None:
        with pytest.raises(ValueError, match="logit"):
            scores([0], logits)  # type: ignore[arg-type]  # a wrong shape is what is tried

    def test_one_fold_has_no_sd_and_two_have_n_minus_one(self) -> None:
        assert mean_and_sd([0.5]) == {"mean": 0.5, "sd": None}
        assert mean_and_sd([0.4, None, 0.6]) == pytest.approx({"mean": 0.5, "sd": np.std([0.4, 0.6], ddof=1)})
        assert mean_and_sd([None]) == {"mean": None, "sd": None}


class TestReport:
    def made(self, **more: object) -> dict[str, object]:
        labels, logits = drawn(3, 90)
        options = {
            "protocol": "honest",
            "units": range(90),
            "patients": "unknown",
            "epochs": {0: {"best_epoch": 3}},
        } | more
        return report(labels, logits, [i % 3 for i in range(90)], CLASSES, **options)  # type: ignore[arg-type]

    def test_the_pooled_value_is_over_all_and_the_mean_over_folds(self) -> None:
        labels, logits = drawn(3, 90)
        made = json.loads(json.dumps(self.made()))
        folds = [scores(labels[f::3], logits[f::3]) for f in range(3)]
        assert made["pooled"]["accuracy"] == scores(labels, logits).accuracy
        assert [row["accuracy"] for row in made["folds"]] == [fold.accuracy for fold in folds]
        values = [fold.macro_f1 or 0.0 for fold in folds]
        assert made["mean"]["macro_f1"] == pytest.approx({"mean": np.mean(values), "sd": np.std(values, ddof=1)})
        assert made["folds"][0]["best_epoch"] == 3
        assert made["folds"][1]["best_epoch"] is None
        assert np.sum(made["pooled"]["confusion"]) == 90

    def test_it_is_the_same_each_time_and_can_be_written_canonically(self) -> None:
        assert canonical_json(self.made()) == canonical_json(self.made())

    def test_the_sentence_says_for_whom_the_numbers_hold(self) -> None:
        assert "for new patients not known" in str(self.made()["statement"])
        assert "no patient was in training and in judging" in str(self.made(patients="known")["statement"])
        assert "too good" in str(self.made(protocol="paper")["statement"])
        assert "too good" not in str(self.made()["statement"])

    def test_images_without_a_patient_among_others_are_not_passed_over(self) -> None:
        found = str(self.made(patients="partly")["statement"])
        assert "no patient was in training" not in found
        assert "some images have no patient" in found

    @pytest.mark.parametrize(
        ("patients", "words"),
        [
            ("known", "none is of a patient that it was trained on"),
            ("partly", "some may be of patients that it was trained on"),
            ("unknown", "whether they are of patients that it was trained on is not known"),
        ],
    )
    def test_a_model_on_another_data_set_has_words_of_its_own(self, patients: str, words: str) -> None:
        found = str(self.made(patients=patients, kind="evaluation")["statement"])
        assert words in found
        assert "that the model was not trained on" in found
        assert "held-out" not in found and "folds" not in found and "same patients" not in found
