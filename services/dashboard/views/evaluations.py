"""What the Models page shows of a model judged on another data set."""

from typing import Any, NamedTuple

from aimic.domain.job import Status
from aimic.domain.model import Evaluation
from services.dashboard.views.jobs import STATUS_WORDS
from services.dashboard.views.models import interval
from services.dashboard.views.words import percent, plural


class Result(NamedTuple):
    """The first things to know of it."""

    accuracy: str
    interval: str
    judged: str
    statement: str


def progress(evaluation: Evaluation) -> str:
    """What stands there while it runs."""
    return f"{_what(evaluation)}: {STATUS_WORDS[Status(evaluation.status)]} …"


def _what(evaluation: Evaluation) -> str:
    return f"{evaluation.model}, version {evaluation.version}, on {evaluation.dataset}"


def result(evaluation: Evaluation) -> Result:
    """Accuracy with its uncertainty, and what it is true of."""
    metrics: dict[str, Any] = evaluation.metrics or {}
    pooled = metrics.get("pooled") or {}
    left_out = f"; {plural(len(evaluation.left_out), 'image')} left out" if evaluation.left_out else ""
    return Result(
        accuracy=percent(pooled.get("accuracy")),
        interval=interval(pooled),
        judged=f"{_what(evaluation)}: {plural(evaluation.judged, 'image')} judged{left_out}.",
        statement=str(metrics.get("statement") or ""),
    )


def failure(evaluation: Evaluation) -> str:
    """Why there is no result."""
    reason = (evaluation.error or "The reason was not recorded.").rstrip(". ")
    return f"{reason}. The model and the images are untouched; you can start it again."
