"""`aimic models`: list, show, export, import, promote; and `aimic evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from aimic.domain.model import Evaluation, ModelVersion
from aimic.errors import ConflictError, InvalidInputError
from services.local.cli.session import Json, Server, connect, err, number, show, table

app = typer.Typer(help="Trained models: versions of a name.", no_args_is_help=True)

Reference = Annotated[str, typer.Argument(help="NAME or NAME:VERSION.")]


@app.command("list")
def list_(server: Server = None, as_json: Json = False) -> None:
    """All versions, newest first."""
    with connect(server) as client:
        found = client.models.list()
    headings = ("model", "stage", "network", "accuracy", "protocol", "classes", "made")
    show(as_json, found, lambda: table(headings, map(_row, found)))


@app.command("show")
def show_(model: Reference, server: Server = None, as_json: Json = False) -> None:
    """Metrics, confusion matrix and origin of a version."""
    with connect(server) as client:
        found = client.models.show(*reference(model))
    show(as_json, found, lambda: metrics_words(found))


@app.command()
def export(
    model: Reference,
    to: Annotated[Path, typer.Option(help="File or directory to write to.")] = Path(),
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write the bundle as one file that another installation imports with the same hash."""
    name, version = reference(model)
    with connect(server) as client:
        found = client.models.show(name, version)
        written = client.models.export(name, to, found.version)
    show(as_json, {"file": str(written), "bundle_hash": found.bundle_hash}, lambda: f"Written: {written}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A bundle file from `aimic models export`.")],
    name: Annotated[str | None, typer.Option(help="Name here; the bundle's own by default.")] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Register a bundle; one with a changed byte is refused."""
    with connect(server) as client:
        found = client.models.import_(file, name)
    show(as_json, found, lambda: metrics_words(found))


@app.command()
def promote(model: Reference, server: Server = None, as_json: Json = False) -> None:
    """Let this version serve; the one that served becomes a candidate."""
    name, version = reference(model)
    if version is None:
        raise InvalidInputError(f"Say which version should serve, such as {name}:2. Nothing was changed.")
    with connect(server) as client:
        found = client.models.promote(name, version)
    show(as_json, found, lambda: f"{found.name}:{found.version} serves now.")


def evaluate(
    model: Annotated[str, typer.Option(help="NAME or NAME:VERSION.")],
    dataset: Annotated[str, typer.Option(help="Data set to judge it on.")],
    dataset_version: Annotated[int | None, typer.Option(help="Without it the newest.")] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Judge a model on images it can't know: those it trained on, their copies and patients are left out."""
    name, version = reference(model)
    with connect(server) as client:
        started = client.models.evaluate(name, dataset, version, dataset_version)
        err.print(f"Judging {name} on {started.judged or 'the'} images …") if not as_json else None
        done = client.models.evaluation(started.id, wait=True)
    if done.error:
        raise ConflictError(done.error)
    show(as_json, done, lambda: _evaluation_words(done))


def reference(text: str) -> tuple[str, int | None]:
    """`name` or `name:version`, taken apart."""
    name, colon, version = text.rpartition(":")
    if not colon:
        return text, None
    if not version.isdigit():
        raise InvalidInputError(f"{text}: after the colon comes a version number, such as {name}:1.")
    return name, int(version)


def metrics_words(model: ModelVersion) -> RenderableType:
    """A model for people."""
    head = f"\n{model.name}:{model.version} ({model.stage}), {model.network}, bundle {model.bundle_hash[:16]}…"
    return Group(head, *_metrics(model.metrics, model.classes))


def _metrics(metrics: dict[str, Any], classes: tuple[str, ...]) -> list[RenderableType]:
    pooled = metrics.get("pooled") or {}
    low, high = (pooled.get("interval") or {}).get("accuracy") or (None, None)
    lines: list[RenderableType] = [
        f"accuracy {number(pooled.get('accuracy'))} (95 % interval {number(low, 3)} to {number(high, 3)}), "
        f"macro F1 {number(pooled.get('macro_f1'))}, {pooled.get('n', '–')} images, protocol: {_protocol(metrics)}",
        str(metrics.get("statement", "")),
    ]
    mean = (metrics.get("mean") or {}).get("accuracy")
    if mean:
        lines.append(f"over the folds: accuracy {number(mean.get('mean'))} ± {number(mean.get('sd'))}")
    per_class = pooled.get("per_class") or []
    lines.append(
        table(
            ("class", "precision", "recall", "F1", "images"),
            ((c["label"], *(number(c[k], 3) for k in ("precision", "recall", "f1")), c["support"]) for c in per_class),
        )
    )
    if confusion := pooled.get("confusion"):
        rows = ((label, *row) for label, row in zip(classes, confusion, strict=False))
        lines.append(table(("truth \\ answer", *classes), rows, "\nconfusion matrix"))
    return lines


def _protocol(metrics: dict[str, Any]) -> str:
    name = str(metrics.get("protocol", "–"))
    return "paper (epoch chosen on the reported images)" if name == "paper" else name


def _row(model: ModelVersion) -> tuple[object, ...]:
    accuracy = number((model.metrics.get("pooled") or {}).get("accuracy"))
    made = f"{model.created_at:%Y-%m-%d %H:%M}"
    return (
        f"{model.name}:{model.version}",
        model.stage,
        model.network,
        accuracy,
        _protocol(model.metrics),
        len(model.classes),
        made,
    )


def _evaluation_words(done: Evaluation) -> RenderableType:
    head = f"{done.model}:{done.version} on {done.dataset} version {done.dataset_version}: {done.judged} images judged"
    left = table(("left out", "reason"), ((item.name, item.reason) for item in done.left_out[:20]))
    rest = len(done.left_out) - 20
    more = f"… and {rest:,} more; --json lists all" if rest > 0 else ""
    classes = tuple(row["label"] for row in ((done.metrics or {}).get("pooled") or {}).get("per_class") or [])
    return Group(
        head, *_metrics(done.metrics or {}, classes), "", left if done.left_out else "Nothing was left out.", more
    )
