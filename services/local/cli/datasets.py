"""`aimic datasets`: import, list, show, export."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from aimic.client import ImportStep
from aimic.domain.dataset import Dataset, DatasetVersion, Import, ImportStatus, LabelRule, Level, Refusal
from aimic.errors import InvalidInputError, NotFoundError
from services.local.cli.session import Json, Server, connect, err, show, table

app = typer.Typer(help="Labelled image sets: a folder is a class.", no_args_is_help=True)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A folder, a zip, a tar, a tar.gz or one image.")],
    name: Annotated[str, typer.Option(help="Name of the data set; an existing one gets a new version.")],
    labels: Annotated[Path | None, typer.Option(help="CSV with a file and a label column.")] = None,
    label_pattern: Annotated[str | None, typer.Option(help="Regular expression with a group named label.")] = None,
    group_pattern: Annotated[str | None, typer.Option(help="Regular expression for the patient or slide.")] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Bring images into a data set. Without options a file's label is the folder directly above it."""
    rule = LabelRule(
        labels_csv=_read_csv(labels) if labels else None, label_pattern=label_pattern, group_pattern=group_pattern
    )
    with connect(server) as client:
        with _Bars(quiet=as_json) as bars:
            done = client.datasets.import_(path, name, rule, bars.told)
        refused = client.datasets.import_refused(done.id)
        if done.status is ImportStatus.FAILED:
            raise InvalidInputError(done.error or "The import failed; what was stored before is kept.")
        version = client.datasets.version(name, done.version)
        show(
            as_json,
            {"import": done, "version": version, "refused": refused},
            lambda: Group(_import_words(done), _refusals(refused), _version_words(version)),
        )


@app.command("list")
def list_(server: Server = None, as_json: Json = False) -> None:
    """All data sets."""
    with connect(server) as client:
        found = client.datasets.list()
    show(as_json, found, lambda: table(("name", "version", "images", "classes"), map(_row, found)))


@app.command("show")
def show_(
    name: str,
    version: Annotated[int | None, typer.Option(help="Without it the newest.")] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Counts per class, and what to know before training."""
    with connect(server) as client:
        found = client.datasets.version(name, version)
        refused = client.datasets.refused(name, found.version) if found else ()
    show(
        as_json,
        {"version": found, "refused": refused},
        lambda: Group(_version_words(found), _refusals(list(refused))),
    )


@app.command()
def export(
    name: str,
    to: Annotated[Path, typer.Option(help="File or directory to write to.")] = Path(),
    version: Annotated[int | None, typer.Option(help="Without it the newest.")] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Write a version as a zip: one folder a class, and labels.csv."""
    with connect(server) as client:
        found = client.datasets.version(name, version)
        if found is None:
            raise NotFoundError(f"Data set {name} has no version yet, so there is nothing to export.")
        written = client.datasets.export(name, to, found.version)
    show(as_json, {"file": str(written)}, lambda: f"Written: {written}")


class _Bars:
    """Progress bars of an import on standard error: bytes sent, then files looked at."""

    def __init__(self, quiet: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=err,
            disable=quiet,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def told(self, step: ImportStep) -> None:
        words = "Sending" if step.phase == "send" else "Checking and storing"
        if words not in self._tasks:
            self._tasks[words] = self._progress.add_task(words, total=None)
        waits = step.state.error if step.state is not None and step.state.phase == "waiting" else None
        shown = escape(f"Waiting: {waits}") if waits else words
        self._progress.update(self._tasks[words], description=shown, completed=step.done, total=step.total)


def _read_csv(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}; nothing was imported.") from None
    except (UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(
            f"{path} can't be read as a UTF-8 text file ({error}); nothing was imported. Save it as CSV (UTF-8)."
        ) from None


def _row(found: Dataset) -> tuple[object, ...]:
    latest = found.latest
    if latest is None:
        return found.name, "–", "–", "–"
    return found.name, latest.version, f"{sum(latest.counts):,}", ", ".join(latest.classes)


def _import_words(done: Import) -> str:
    return (
        f"Looked at {done.seen:,} files: {done.stored:,} stored, {done.known:,} known already, "
        f"{done.refused:,} refused, {done.ignored:,} ignored (hidden files and the like)."
    )


def _refusals(refused: list[Refusal]) -> RenderableType:
    if not refused:
        return ""
    shown = table(("refused", "reason"), ((item.name, item.reason) for item in refused[:20]), "\nNot taken")
    rest = len(refused) - 20
    return Group(shown, f"… and {rest:,} more; --json lists all") if rest > 0 else shown


def _version_words(version: DatasetVersion | None) -> RenderableType:
    if version is None:
        return "There are no images in this data set yet."
    groups = "patients or slides unknown" if version.groups is None else f"{version.groups:,} patients or slides"
    head = f"\n{version.dataset}, version {version.version}: {sum(version.counts):,} images, {groups}"
    counts = table(("class", "images"), zip(version.classes, (f"{n:,}" for n in version.counts), strict=True))
    signs = {Level.INFO: "note", Level.WARNING: "warning"}
    findings = [f"{signs[finding.level]}: {finding.message}" for finding in version.findings]
    return Group(head, counts, "\n".join(["", *findings]) if findings else "")
