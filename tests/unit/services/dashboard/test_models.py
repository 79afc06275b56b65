"""What is shown of a model."""

from typing import Any

from aimic.domain.model import ModelVersion
from services.dashboard.views import models as view


def _with(model: ModelVersion, **metrics: Any) -> ModelVersion:
    return model.model_copy(update={"metrics": {**model.metrics, **metrics}})


def test_the_headline(model: ModelVersion) -> None:
    assert view.headline(model) == view.Headline(
        accuracy="80.0 %",
        interval="49.0 % to 94.3 %",
        folds="80.0 % ± 5.0",
        images="10",
        statement="For new images of the same patients.",
        protocol=None,
    )


def test_the_published_protocol_is_labelled(model: ModelVersion) -> None:
    protocol = view.headline(_with(model, protocol="paper")).protocol
    assert protocol is not None
    assert "test images themselves" in protocol


def test_the_published_protocol_stands_wherever_its_numbers_do(model: ModelVersion) -> None:
    paper = _with(model, protocol="paper")
    assert view.label(paper) == "blood-mobilenet_v2 · version 1 · in use (published protocol)"
    for text in (view.accuracy_help(paper), view.judged_on(paper)):
        assert "chose" in text and "published protocol" in text and "not seen" not in text
    for text in (view.accuracy_help(model), view.judged_on(model)):
        assert "had not seen" in text and "published" not in text


def test_what_is_not_known_is_a_dash(model: ModelVersion) -> None:
    bare = model.model_copy(update={"metrics": {}})
    assert view.headline(bare) == view.Headline("–", "", "", "–", "", None)
    assert [value for _, value, _ in view.other_numbers(bare)] == ["–", "–", "–"]
    assert view.class_rows(bare) == view.confusion_cells(bare) == []
    one_fold = _with(model, mean={"accuracy": {"mean": 0.8, "sd": None}})
    assert view.headline(one_fold).folds == ""


def test_an_absent_class_is_a_dash(model: ModelVersion) -> None:
    row = {"label": "basophil", "precision": None, "recall": None, "f1": None, "support": 0}
    rows = view.class_rows(_with(model, pooled={"per_class": [row]}))
    assert rows[0]["Found (recall)"] == "–"


def test_the_matrix_has_truth_in_rows_with_parts_of_the_row(model: ModelVersion) -> None:
    cells = {(c["truth"], c["answer"]): c for c in view.confusion_cells(model)}
    assert cells["basophil", "neutrophil"]["count"] == 2
    assert cells["basophil", "neutrophil"]["share"] == 0.5
    assert cells["basophil", "neutrophil"]["text"] == "2\n50 %"
    assert cells["neutrophil", "basophil"]["text"] == "0"


def test_the_most_frequent_mistakes_in_words(model: ModelVersion) -> None:
    assert view.mistakes(model) == ["2 × basophil taken for neutrophil (50 % of them)"]


def test_where_it_comes_from(model: ModelVersion) -> None:
    assert view.facts(model) == "MobileNet-v2 · learned from blood · made on 4 March 2026"
    assert view.label(model) == "blood-mobilenet_v2 · version 1 · in use"
