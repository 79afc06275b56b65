"""The model card: `bundle.json` in words, for a person who must decide whether to trust the model."""

from typing import Any

from aimic.domain.networks import NETWORKS
from aimic.nets.info import BundleInfo


def model_card(info: BundleInfo) -> str:
    """Markdown made from `info` alone, so that the same bundle always has the same card."""
    title = NETWORKS[info.network].title if info.network in NETWORKS else info.network
    sections = (
        ("", [f"# {title} for {len(info.classes)} classes", _purpose(info)]),
        ("## What it tells apart", _classes(info)),
        ("## How good it was", _numbers(info)),
        ("## How it was made", _making(info)),
        ("## What to keep in mind", _limits(info)),
    )
    return "\n\n".join("\n".join(line for line in (head, *lines) if line) for head, lines in sections) + "\n"


def _purpose(info: BundleInfo) -> str:
    return (
        f"\nReads a picture at {info.preprocessing.image_size} × {info.preprocessing.image_size} pixels "
        "(its sides stretched) and gives a probability for every class below, and for nothing else."
    )


def _classes(info: BundleInfo) -> list[str]:
    rows = [f"| {_cell(name)} | {count} |" for name, count in zip(info.classes, info.class_mix, strict=True)]
    return ["| class | training images |", "|---|---|", *rows]


def _numbers(info: BundleInfo) -> list[str]:
    pooled = info.metrics.get("pooled")
    if not isinstance(pooled, dict):
        return ["Nothing was measured."]
    names = ("accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")
    rows = [f"| {name.replace('_', ' ')} | {_number(pooled.get(name))} |" for name in names]
    lines = [f"Over all {pooled.get('n', '–')} images, each judged by a network that had not seen it:"]
    if info.metrics.get("protocol") == "paper":
        lines = ["By the published protocol (best epoch on the held-out fold itself), so optimistic:"]
    statement = info.metrics.get("statement")
    return [*lines, "", "| measure | value |", "|---|---|", *rows, *(["", str(statement)] if statement else [])]


def _making(info: BundleInfo) -> list[str]:
    card = info.weights_card
    digest = f", SHA-256 `{card.sha256}`" if card.sha256 else ""
    head = "started anew" if card.head_replaced else "kept, since the classes are the same"
    lines = [
        f"- Started from: {_cell(card.source)}{digest}; licence: {card.licence}; last layer: {head}.",
        f"- Data: manifest `{info.manifest_hash}`, {len(info.membership)} images.",
        f"- Mode {info.settings.get('mode', '–')}, seed {info.settings.get('seed', '–')}.",
        f"- Weight sets: {info.ensemble}." if info.ensemble > 1 else "",
        _executors(info),
        f"- Temperature {_number(info.temperature.value)}: {_temperature(info)}.",
        "- Made with " + ", ".join(f"{name} {version}" for name, version in sorted(info.libraries.items())) + ".",
    ]
    return lines + [f"- {note}" for note in (*card.notes, *info.notes)]


def _executors(info: BundleInfo) -> str:
    """What else may run it, on which images that was seen."""
    alike = [each for each in info.executors if each.admits]
    if not alike:
        return "- Runs with eager PyTorch in float32 alone: of nothing else was it seen that it answers the same."
    names = ", ".join(each.executor for each in alike)
    return f"- Answers the same with {names}: seen on {max(each.images for each in alike)} out-of-fold images."


def _temperature(info: BundleInfo) -> str:
    if info.temperature.fitted:
        return f"fitted on {info.temperature.images} images" + (
            f", {info.temperature.note}" if info.temperature.note else ""
        )
    return info.temperature.note or "not fitted"


def _limits(info: BundleInfo) -> list[str]:
    return [
        "- Probabilities assume the mix of classes it was trained on; another mix shifts them.",
        "- It was judged on pictures like those it learned from. Another microscope, stain or camera is new to it.",
        "- It always names one of its classes, also for a picture of something else."
        if info.ood is None
        else "- A picture of no known class is told apart by a reference kept in the bundle.",
        "- It is no medical device; a person decides.",
    ]


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "–"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
