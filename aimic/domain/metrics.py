"""How good a model is, in numbers that equal scikit-learn's, and in one sentence.

Macro values are taken over the whole class list with 0 where nothing was predicted or present
(`labels=classes, zero_division=0`); sd is with n - 1; the pooled value over all folds leads. What does
not exist is None and is shown as a dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aimic.domain.intervals import share_interval

Patients = Literal["known", "partly", "unknown"]
"""Of how many images the patient is known, so that judging can keep to other patients than training: of all, some
or none. Of a model on another data set also `unknown`: when its patients can't be compared with those in training."""
Kind = Literal["job", "evaluation"]
"""A job's own folds, or a finished model on images that were chosen because they are new to it."""

_FOR_WHOM: dict[tuple[Kind, Patients], str] = {
    ("job", "known"): "for new patients like these: no patient was in training and in judging.",
    ("job", "partly"): (
        "partly for new images of the same patients: some images have no patient, so theirs may have been in "
        "training and in judging."
    ),
    ("job", "unknown"): (
        "for new images of the same patients; for new patients not known, because no patients were given."
    ),
    ("evaluation", "known"): "and none is of a patient that it was trained on.",
    ("evaluation", "partly"): (
        "but some may be of patients that it was trained on, because not every image has a patient."
    ),
    ("evaluation", "unknown"): "but whether they are of patients that it was trained on is not known.",
}
MEANS = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1", "loss")


@dataclass(frozen=True, slots=True)
class Scores:
    """The metrics of one set of predictions; None where there are no samples."""

    n: int
    accuracy: float | None
    balanced_accuracy: float | None
    """Mean recall of the classes that are present."""
    macro_precision: float | None
    macro_recall: float | None
    macro_f1: float | None
    loss: float | None
    """Mean cross-entropy in nats."""
    confusion: NDArray[np.int64]
    """[c, c], rows are the truth."""
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    """[c] each, 0 where undefined."""

    def values(self) -> dict[str, Any]:
        """The single numbers, by name."""
        return {"n": self.n, **{name: getattr(self, name) for name in MEANS}}

    def per_class(self, classes: Sequence[str]) -> list[dict[str, Any]]:
        """One row per class; an absent class has None."""
        support = self.confusion.sum(axis=1).tolist()
        columns = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return [
            {
                "label": label,
                **{name: float(column[c]) if support[c] else None for name, column in columns.items()},
                "support": support[c],
            }
            for c, label in enumerate(classes)
        ]


def log_softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """[n, c] log probabilities in float64."""
    values = np.asarray(logits, dtype=np.float64)
    shifted = values - values.max(axis=1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def scores(labels: ArrayLike, logits: ArrayLike) -> Scores:
    """Judge `logits` [n, c] (or log probabilities) against `labels` [n], 0…c-1. Ties go to the lower class."""
    truth, values = np.asarray(labels, dtype=np.int64), np.asarray(logits, dtype=np.float64)
    if values.ndim != 2 or truth.shape != (len(values),):
        raise ValueError(f"labels {truth.shape} and logits {values.shape} do not fit")
    if not np.isfinite(values).all():
        raise ValueError("a logit is not a finite number")
    n, c = values.shape
    confusion = np.zeros((c, c), np.int64)
    np.add.at(confusion, (truth, values.argmax(axis=1)), 1)
    hits = np.diag(confusion).astype(np.float64)
    precision, recall = _ratio(hits, confusion.sum(axis=0)), _ratio(hits, confusion.sum(axis=1))
    f1 = _ratio(2 * hits, confusion.sum(axis=0) + confusion.sum(axis=1))
    if n == 0:
        return Scores(0, None, None, None, None, None, None, confusion, precision, recall, f1)
    return Scores(
        n=n,
        accuracy=float(hits.sum() / n),
        balanced_accuracy=float(recall[confusion.sum(axis=1) > 0].mean()),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        loss=float(-log_softmax(values)[np.arange(n), truth].mean()),
        confusion=confusion,
        precision=precision,
        recall=recall,
        f1=f1,
    )


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return ratio


def mean_and_sd(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and sd (n - 1) of what exists; the sd of one value is None."""
    there = np.array([value for value in values if value is not None], dtype=np.float64)
    return {
        "mean": float(there.mean()) if len(there) else None,
        "sd": float(there.std(ddof=1)) if len(there) > 1 else None,
    }


def report(  # noqa: PLR0913  # the facts of the samples, column by column
    labels: ArrayLike,
    logits: ArrayLike,
    folds: Sequence[int],
    classes: Sequence[str],
    *,
    protocol: Literal["honest", "paper"],
    units: Sequence[int],
    patients: Patients,
    kind: Kind = "job",
    epochs: Mapping[int, Mapping[str, Any]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The metrics of a job as JSON values.

    One entry per reported sample: its label (index into `classes`), its logits from the model that never saw it,
    its fold, its unit (`aimic.domain.units`). `epochs[fold]`: further facts of a fold, such as
    best_epoch and epochs.
    """
    truth, values, fold_of = np.asarray(labels), np.asarray(logits, dtype=np.float64), np.asarray(folds)
    pooled = scores(truth, values)
    right = values.argmax(axis=1) == truth if len(truth) else np.empty(0, bool)
    interval = share_interval(right, units, seed)
    rows = []
    for fold in sorted(set(fold_of.tolist())):
        part = scores(truth[fold_of == fold], values[fold_of == fold])
        facts = {"best_epoch": None, "epochs": None, **(epochs or {}).get(fold, {})}
        rows.append({"fold": fold, **part.values(), **facts, "per_class": part.per_class(classes)})
    return {
        "protocol": protocol,
        "pooled": {
            **pooled.values(),
            "confusion": pooled.confusion.tolist(),
            "per_class": pooled.per_class(classes),
            "interval": {"accuracy": list(interval) if interval else None},
        },
        "folds": rows,
        "mean": {name: mean_and_sd([row[name] for row in rows]) for name in MEANS},
        "patients": patients,
        "statement": statement(pooled, interval, len(rows), protocol, patients, kind),
    }


def statement(
    pooled: Scores,
    interval: tuple[float, float] | None,
    folds: int,
    protocol: str,
    patients: Patients,
    kind: Kind = "job",
) -> str:
    """What the numbers say, and for whom, in plain words."""
    if pooled.accuracy is None or interval is None:
        return "No image was judged."
    where = f"over {folds} folds" if folds > 1 else "on the held-out part"
    sentence = (
        f"{pooled.accuracy:.1%} of {pooled.n:,} images are right "
        f"{'that the model was not trained on' if kind == 'evaluation' else where} "
        f"(95 % interval {interval[0]:.1%} to {interval[1]:.1%}), "
        f"{_FOR_WHOM[kind, patients]}"
    )
    if protocol == "paper":
        sentence += (
            " Published protocol: the epoch was chosen on the very images that are reported, "
            "which makes the number too good."
        )
    return sentence
