"""What the Models page shows of answers."""

from typing import Any, NamedTuple

from aimic.domain.prediction import Answer, ImageResult, PredictResponse
from aimic.errors import DeadlineError, OverloadedError, UnavailableError
from services.dashboard.views.tables import Cell, csv_bytes
from services.dashboard.views.words import percent, plural

_REASONS = {
    "unsure": "The model is not sure enough to say.",
    "not_a_known_class": "This looks like none of the classes that the model knows.",
}
SHOWN = 6
"""Bars per picture; the rest is in the table."""


class Verdict(NamedTuple):
    """What is said of one picture."""

    name: str
    title: str
    detail: str
    good: bool
    bars: list[dict[str, Any]]
    """class and probability, the most probable first."""


def verdict(result: ImageResult) -> Verdict:
    """The answer or the trouble with one image, in words."""
    name = result.name or f"image {result.index + 1}"
    if result.answer is None:
        message = result.error.message if result.error else "There was no answer for this image."
        return Verdict(name, "Not classified", message, False, [])
    answer = result.answer
    bars = _bars(answer)
    if answer.label is None or answer.abstained:
        return Verdict(name, "No answer", _REASONS.get(answer.reason or "", _REASONS["unsure"]), False, bars)
    return Verdict(name, answer.label, f"{percent(answer.probabilities[answer.label])} sure", True, bars)


def _bars(answer: Answer) -> list[dict[str, Any]]:
    ordered = sorted(answer.probabilities.items(), key=lambda item: -item[1])
    return [{"class": label, "probability": p} for label, p in ordered[:SHOWN]]


_PASSING = frozenset({DeadlineError.code, OverloadedError.code, UnavailableError.code})


def unanswered(response: PredictResponse) -> int:
    """Images that were not looked at, for a reason that will pass."""
    return sum(result.error is not None and result.error.code in _PASSING for result in response.results)


def summary(response: PredictResponse) -> str:
    """How many of what."""
    found: dict[str, int] = {}
    silent = 0
    for result in response.results:
        if result.answer is not None and result.answer.label is not None:
            found[result.answer.label] = found.get(result.answer.label, 0) + 1
        else:
            silent += 1
    parts = [f"{count:,} {label}" for label, count in sorted(found.items(), key=lambda item: -item[1])]
    if silent:
        parts.append(f"{silent:,} without an answer")
    return f"{plural(len(response.results), 'image')}: {', '.join(parts)}"


def answers_csv(response: PredictResponse) -> bytes:
    """All answers as a table: file, class, probability of every class, model and request, or the error."""
    answers = [r.answer for r in response.results if r.answer is not None]
    labels = list(answers[0].probabilities) if answers else []
    header = ["file", "class", *(f"p({label})" for label in labels), "model", "version", "bundle", "request", "remark"]
    return csv_bytes(header, (_csv_row(result, labels) for result in response.results))


def _csv_row(result: ImageResult, labels: list[str]) -> list[Cell]:
    answer = result.answer
    if answer is None:
        return [result.name, None, *(None for _ in labels), None, None, None, None, verdict(result).detail]
    return [
        result.name,
        answer.label,
        *(round(answer.probabilities[label], 6) for label in labels),
        answer.model,
        answer.version,
        answer.bundle_hash,
        answer.request_id,
        answer.reason,
    ]
