"""`aimic predict`: classify images."""

import csv
import io
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from aimic.domain.prediction import PredictResponse
from aimic.errors import InvalidInputError, NotFoundError
from aimic.imaging.names import is_ignored
from services.local.cli.models import reference
from services.local.cli.session import Json, Server, connect, err, number, show, table


def predict(
    model: Annotated[str, typer.Option(help="NAME or NAME:VERSION.")],
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Also write the answers to this CSV file.")] = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Classify images: every class's probability for each."""
    name, version = reference(model)
    files = _files(paths)
    if csv_file is not None and not csv_file.absolute().parent.is_dir():
        raise InvalidInputError(f"--csv: there is no folder {csv_file.absolute().parent}. Nothing was classified.")
    with connect(server) as client:
        response = client.predict(name, files, version)
    if csv_file is not None:
        csv_file.write_text(as_csv(response, files), encoding="utf-8")
        err.print(f"Written: {csv_file}")
    rows = [
        {"file": str(file)} | result.model_dump(mode="json")
        for file, result in zip(files, response.results, strict=True)
    ]
    show(
        as_json,
        {"model": response.model, "version": response.version, "results": rows},
        lambda: _words(response, files),
    )


def _files(paths: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(
                item for item in path.rglob("*") if item.is_file() and not is_ignored(item.relative_to(path).as_posix())
            )
        elif path.is_file():
            found.append(path)
        else:
            raise NotFoundError(f"There is no file or folder {path}; nothing was classified.")
    if not found:
        raise InvalidInputError("There are no files in the folders given; nothing was classified.")
    return found


def as_csv(response: PredictResponse, files: list[Path]) -> str:
    """One row per image: file, label, each class's probability, abstention, error, and the model."""
    classes = next((list(r.answer.probabilities) for r in response.results if r.answer), [])
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(
        ["file", "label", *(f"p_{_safe(c)}" for c in classes), "abstained", "reason", "error", "model", "bundle"]
    )
    for file, result in zip(files, response.results, strict=True):
        answer = result.answer
        if answer is None:
            error = result.error.message if result.error else ""
            writer.writerow([_safe(str(file)), "", *("" for _ in classes), "", "", _safe(error), "", ""])
            continue
        shares = (f"{answer.probabilities[c]:.6f}" for c in classes)
        writer.writerow(
            [_safe(str(file)), _safe(answer.label or ""), *shares, answer.abstained, answer.reason or "", "",
             f"{answer.model}:{answer.version}", answer.bundle_hash]
        )  # fmt: skip
    return text.getvalue()


def _safe(cell: str) -> str:
    """Spreadsheets run cells that begin like a formula (OWASP: CSV injection); a quote in front stops that."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _words(response: PredictResponse, files: list[Path]) -> RenderableType:
    rows = []
    for file, result in zip(files, response.results, strict=True):
        if result.answer is None:
            rows.append((file.name, "–", result.error.message if result.error else ""))
            continue
        best = sorted(result.answer.probabilities.items(), key=lambda item: -item[1])[:3]
        shares = ", ".join(f"{label} {number(share, 3)}" for label, share in best)
        rows.append((file.name, result.answer.label or f"no answer ({result.answer.reason})", shares))
    head = f"{response.model}:{response.version}, {len(rows)} images"
    return Group(head, table(("file", "class", "most probable"), rows))
