"""`aimic predict`: classify images, however many."""

import asyncio
from contextlib import aclosing, closing, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from aimic.client.predict_images import printable
from aimic.errors import AimicError, InvalidInputError, NotFoundError
from aimic.imaging.names import is_ignored
from services.local.cli.answers import AnswersFile, cell_of, kept_rows, refuse_unwritable
from services.local.cli.classifying import Progress, Tally
from services.local.cli.models import reference
from services.local.cli.session import PATIENCE_S, Json, Server, connect_async, err, show

_DEADLINE_S = 120.0
"""For one batch: nobody waits for it alone, and a slow machine beside others may need that long."""


def predict(
    model: Annotated[str, typer.Option(help="NAME or NAME:VERSION.")],
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Also write the answers to this CSV file, each as it comes.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the answers that the CSV file has, and ask for the others.")
    ] = False,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Classify images: every class's probability for each. Ctrl-C keeps what is answered."""
    name, version = reference(model)
    files = _files(paths, csv_file)
    answers, files, version = _answers(csv_file, resume, name, version, files)
    tally = Tally(len(files), keep=as_json)
    stopped, status = None, 0
    try:
        with closing(answers) if answers is not None else nullcontext():
            asyncio.run(_classify(name, version, files, server, tally, answers, quiet=as_json))
    except KeyboardInterrupt:
        stopped, status = "Stopped.", 130
    except AimicError as error:
        if not tally.done:
            raise
        stopped, status = error.message, 1
    if answers is not None and answers.begun:
        err.print(f"Written: {csv_file}", soft_wrap=True)
    _finish(tally, csv_file, stopped, as_json)
    if status:
        raise typer.Exit(status)


async def _classify(
    name: str,
    version: int | None,
    files: list[Path],
    server: str | None,
    tally: Tally,
    answers: AnswersFile | None,
    *,
    quiet: bool,
) -> None:
    async with connect_async(server) as client:
        results = client.stream(name, files, version, _DEADLINE_S, patience_s=PATIENCE_S)
        with Progress(tally, quiet) as progress:
            async with aclosing(results):
                async for result in results:
                    file = files[result.index]
                    if answers is not None:
                        answers.add(file, result)
                    tally.add(file, result)
                    progress.told()


def _answers(
    csv_file: Path | None, resume: bool, name: str, version: int | None, files: list[Path]
) -> tuple[AnswersFile | None, list[Path], int | None]:
    """The CSV file, the images that it has no answer for, and the version that has answered so far."""
    if csv_file is None:
        if resume:
            raise InvalidInputError("--resume goes on with a CSV file; give it by --csv. Nothing was classified.")
        return None, files, version
    if not csv_file.absolute().parent.is_dir():
        raise InvalidInputError(f"--csv: there is no folder {csv_file.absolute().parent}. Nothing was classified.")
    refuse_unwritable(csv_file)
    kept = kept_rows(csv_file, name) if resume else None
    if kept is None or kept.version is None:
        return AnswersFile(csv_file), files, version
    if version not in {None, kept.version}:
        raise InvalidInputError(
            f"{csv_file} has answers of {name}:{kept.version}. Resume with that version, or write to another file. "
            "It was kept."
        )
    done = {row[0] for row in kept.rows}
    left = [file for file in files if cell_of(file) not in done]
    err.print(f"{len(files) - len(left)} of {len(files)} images are answered in {csv_file} already.", soft_wrap=True)
    return AnswersFile(csv_file, kept), left, kept.version


def _finish(tally: Tally, csv_file: Path | None, stopped: str | None, as_json: bool) -> None:
    if stopped is None:
        tally.refuse_nothing()
    else:
        again = "; the same command with --resume asks for the others" if csv_file else ""
        stopped = f"{stopped} {tally.done} of {tally.total} images were asked about and are kept{again}."
        err.print(stopped, soft_wrap=True)
    last = tally.last
    results = [{"file": printable(str(file))} | result.model_dump(mode="json") for file, result in tally.results]
    said = {"model": last.model if last else None, "version": last.version if last else None, "results": results}
    show(as_json, said | ({"stopped": stopped} if stopped else {}), tally.words)


def _files(paths: list[Path], csv_file: Path | None) -> list[Path]:
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
    if csv_file is not None:
        found = [file for file in found if file.absolute() not in {csv_file.absolute()}]
    if not found:
        raise InvalidInputError("There are no files in the folders given; nothing was classified.")
    return found
