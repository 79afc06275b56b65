"""What is shown of answers."""

import csv
import io

from aimic.domain.prediction import Answer, ImageError, ImageResult, PredictResponse
from services.dashboard.views import predictions as view

PROBABILITIES = {"a": 0.1, "b": 0.7, "c": 0.2}


def _answer(label: str | None = "b", reason: str | None = None) -> Answer:
    return Answer(
        label=label,
        probabilities=PROBABILITIES,
        abstained=label is None,
        reason=reason,
        model="m",
        version=2,
        bundle_hash="h",
        executor="local",
        request_id="r",
    )


RESPONSE = PredictResponse(
    model="m",
    version=2,
    request_id="r",
    results=(
        ImageResult(index=0, name="@x.png", answer=_answer()),
        ImageResult(index=1, name="y.png", error=ImageError(code="unreadable_image", message="No image.")),
        ImageResult(index=2, name="z.png", answer=_answer(None, "not_a_known_class")),
    ),
)


def test_an_answer_names_the_class_and_how_sure() -> None:
    verdict = view.verdict(RESPONSE.results[0])
    assert (verdict.title, verdict.detail, verdict.good) == ("b", "70.0 % sure", True)
    assert [bar["class"] for bar in verdict.bars] == ["b", "c", "a"]


def test_an_error_and_an_abstention_say_why() -> None:
    error, abstained = view.verdict(RESPONSE.results[1]), view.verdict(RESPONSE.results[2])
    assert (error.title, error.detail, error.bars) == ("Not classified", "No image.", [])
    assert (abstained.title, abstained.good) == ("No answer", False)
    assert "none of the classes" in abstained.detail
    assert abstained.bars


def test_the_summary_counts() -> None:
    assert view.summary(RESPONSE) == "3 images: 1 b, 2 without an answer"


def test_the_table_has_everything_and_runs_nothing() -> None:
    rows = list(csv.DictReader(io.StringIO(view.answers_csv(RESPONSE).decode("utf-8-sig"))))
    assert [row["file"] for row in rows] == ["'@x.png", "y.png", "z.png"]
    assert (rows[0]["class"], rows[0]["p(b)"], rows[0]["version"], rows[0]["request"]) == ("b", "0.7", "2", "r")
    assert rows[1]["remark"] == "No image."
    assert (rows[2]["class"], rows[2]["remark"]) == ("", "not_a_known_class")
