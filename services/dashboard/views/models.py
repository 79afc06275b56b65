"""What the Models page shows of a model version."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from aimic.domain.model import ModelVersion, Stage
from aimic.domain.networks import NETWORKS
from services.dashboard.views.words import DASH, PUBLISHED, percent

STAGE_WORDS = {Stage.SERVING: "in use", Stage.CANDIDATE: "not in use", Stage.RETIRED: "retired"}


class Headline(NamedTuple):
    """The first things to know of a model."""

    accuracy: str
    interval: str
    folds: str
    images: str
    statement: str
    protocol: str | None
    """A warning where the numbers were made by the published protocol; None for the honest one."""


def label(model: ModelVersion) -> str:
    """A version in one line."""
    published = PUBLISHED if _by_paper(model) else ""
    return f"{model.name} · version {model.version} · {STAGE_WORDS[model.stage]}{published}"


def _by_paper(model: ModelVersion) -> bool:
    return model.metrics.get("protocol") == "paper"


def accuracy_help(model: ModelVersion) -> str:
    """What the accuracy is of."""
    if _by_paper(model):
        return "Of the held-out images, which also chose the epoch (published protocol)."
    return "Of images that it had not seen while learning."


def judged_on(model: ModelVersion) -> str:
    """On how many images it was judged, and what they were to it."""
    images = f"Judged on **{headline(model).images} images**"
    if _by_paper(model):
        return f"{images} that it did not learn from, but that chose when it stopped learning (published protocol)."
    return f"{images} that the model had not seen."


def headline(model: ModelVersion) -> Headline:
    """Accuracy with its uncertainty, and what it is true of."""
    pooled = model.metrics.get("pooled") or {}
    return Headline(
        accuracy=percent(pooled.get("accuracy")),
        interval=interval(pooled),
        folds=_mean((model.metrics.get("mean") or {}).get("accuracy")),
        images=f"{pooled['n']:,}" if pooled.get("n") is not None else DASH,
        statement=str(model.metrics.get("statement") or ""),
        protocol=_PAPER if _by_paper(model) else None,
    )


_PAPER = (
    "Published protocol: the number of epochs was chosen on the test images themselves, "
    "so these numbers look better than new images will."
)


def interval(pooled: dict[str, Any]) -> str:
    """Where the accuracy lies with 95 % certainty, in words; empty where that is not known."""
    bounds: Sequence[float] | None = (pooled.get("interval") or {}).get("accuracy")
    return f"{percent(bounds[0])} to {percent(bounds[1])}" if bounds else ""


def _mean(of: dict[str, float | None] | None) -> str:
    if not of or of.get("mean") is None:
        return ""
    sd = of.get("sd")
    # One part set aside has no spread: its mean is the accuracy itself, which is said already.
    return "" if sd is None else f"{percent(of['mean'])} ± {100 * sd:.1f}"


def other_numbers(model: ModelVersion) -> list[tuple[str, str, str]]:
    """Name, value and meaning of the other pooled numbers."""
    pooled = model.metrics.get("pooled") or {}
    loss = pooled.get("loss")
    return [
        ("Balanced accuracy", percent(pooled.get("balanced_accuracy")), "Every class counts the same."),
        ("Macro F1", percent(pooled.get("macro_f1")), "Precision and recall in one number, averaged over classes."),
        ("Loss", DASH if loss is None else f"{loss:.3f}", "How surprised the model is by the truth; 0 is best."),
    ]


def class_rows(model: ModelVersion) -> list[dict[str, Any]]:
    """Per class: how often it is found, and how often it is right when it says so."""
    rows = (model.metrics.get("pooled") or {}).get("per_class") or []
    return [
        {
            "Class": row["label"],
            "Found (recall)": percent(row.get("recall")),
            "Right when named (precision)": percent(row.get("precision")),
            "F1": percent(row.get("f1")),
            "Images": row.get("support"),
        }
        for row in rows
    ]


def confusion_cells(model: ModelVersion) -> list[dict[str, Any]]:
    """One row per cell of the pooled confusion matrix: truth, answer, count, share of the truth's row."""
    pooled = model.metrics.get("pooled") or {}
    matrix = pooled.get("confusion") or []
    labels = [row["label"] for row in pooled.get("per_class") or []] or list(model.classes)
    cells = []
    for truth, counts in zip(labels, matrix, strict=False):
        total = sum(counts)
        for answer, count in zip(labels, counts, strict=False):
            share = count / total if total else None
            text = f"{count:,}" if not count else f"{count:,}\n{percent(share, 0)}"
            cells.append({"truth": truth, "answer": answer, "count": count, "share": share or 0.0, "text": text})
    return cells


def mistakes(model: ModelVersion, most: int = 3) -> list[str]:
    """The most frequent mix-ups, in words."""
    wrong = [c for c in confusion_cells(model) if c["truth"] != c["answer"] and c["count"]]
    wrong.sort(key=lambda cell: -cell["count"])
    return [
        f"{cell['count']:,} × {cell['truth']} taken for {cell['answer']} ({percent(cell['share'], 0)} of them)"
        for cell in wrong[:most]
    ]


def facts(model: ModelVersion) -> str:
    """Where a model comes from, in one line."""
    parts = [NETWORKS[model.network].title if model.network in NETWORKS else model.network]
    if model.dataset:
        parts.append(f"learned from {model.dataset}")
    parts.append(f"made on {model.created_at:%d %B %Y}".replace(" 0", " "))
    return " · ".join(parts)
