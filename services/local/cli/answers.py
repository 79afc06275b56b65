"""The CSV of answers: a row is in the file as soon as its image is answered, and a later run can go on from there."""

import csv
import errno
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TextIO

from aimic.client.predict_images import printable
from aimic.domain.prediction import Answer, ImageResult
from aimic.errors import FullError, InvalidInputError

_BEFORE = ("file", "label")
_AFTER = ("abstained", "reason", "error", "model", "bundle")
_ERROR, _MODEL, _BUNDLE = -3, -2, -1
_END = "\r\n"


@dataclass(frozen=True)
class Kept:
    """What an earlier run left."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Those with an answer; images with an error are asked about again."""
    version: int | None
    """The version that answered them; None without rows."""
    bundle: str | None
    """And its bundle's hash: another installation, or a later one, may call another model by the same name."""


class AnswersFile:
    """One row per image: file, label, each class's probability, abstention, error, and the model.

    Nothing is written, and nothing overwritten, before the first result is here.
    """

    def __init__(self, path: Path, kept: Kept | None = None) -> None:
        self._path = path
        self._kept = kept if kept and kept.rows else None
        self._header = self._kept.header if self._kept else None
        self._bundle = self._kept.bundle if self._kept else None
        self._early: list[tuple[Path, ImageResult]] = []
        self._file: TextIO | None = None
        self._failed = False

    @property
    def begun(self) -> bool:
        """Whether anything was written."""
        return self._file is not None

    def add(self, file: Path, result: ImageResult) -> None:
        """Write a row; InvalidInputError when its bundle or classes aren't those of the rows before, FullError."""
        with self._in_words():
            self._add(file, result)

    def _add(self, file: Path, result: ImageResult) -> None:
        if result.answer is not None:
            self._refuse_another(result.answer)
            shares = tuple(f"p_{safe(label)}" for label in result.answer.probabilities)
            self._columns((*_BEFORE, *shares, *_AFTER))
        if self._header is None:
            self._early.append((file, result))  # the columns are known with the first answer
            return
        self._write(_row(file, result, len(self._header) - len(_BEFORE) - len(_AFTER)))

    def close(self) -> None:
        """Write what is left, and the file is whole; FullError when it isn't."""
        with self._in_words():
            try:
                if self._early and not self._failed:
                    self._columns((*_BEFORE, *_AFTER))
            finally:
                if self._file is not None:
                    self._file.close()

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._failed:
                return  # it was told; closing the file tries once more to write what there was no room for
            self._failed = True
            raise FullError(
                f"{self._path} can't be written any more ({error.strerror}). The rows before are kept."
            ) from error

    def _refuse_another(self, answer: Answer) -> None:
        self._bundle = self._bundle or answer.bundle_hash
        if self._bundle != answer.bundle_hash:
            raise InvalidInputError(
                f"{self._path} has answers of bundle {self._bundle[:12]}…, but {answer.model}:{answer.version} is "
                f"bundle {answer.bundle_hash[:12]}… here: another model of the same name. Write to another file. "
                "It was kept."
            )

    def _columns(self, header: tuple[str, ...]) -> None:
        if self._header is None:
            self._header = header
            early, self._early = self._early, []
            for file, result in early:
                self._add(file, result)
        elif self._header != header:
            raise InvalidInputError("The CSV has other classes than the answers; write to another file. It was kept.")

    def _write(self, row: Sequence[object]) -> None:
        if self._file is None:
            assert self._header is not None
            self._file = _begun(self._path, self._header, self._kept)
        csv.writer(self._file, lineterminator=_END).writerow(row)
        self._file.flush()


def refuse_unwritable(path: Path) -> None:
    """InvalidInputError, before anything is asked, when no answers can be written to `path`; it stays as it is."""
    try:
        if path.is_file():
            path.open("ab").close()
        elif path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        elif not path.exists():
            TemporaryFile(dir=path.absolute().parent).close()
    except OSError as error:
        raise InvalidInputError(f"--csv: {path} can't be written ({error.strerror}). Nothing was classified.") from None


def kept_rows(path: Path, model: str) -> Kept | None:
    """What `path` has of `model`'s answers; None without such a file. InvalidInputError for any other file."""
    if not path.exists():
        return None
    # A row that was cut off by the end of the machine is no row.
    text = path.read_bytes().decode("utf-8", "replace")
    found = list(csv.reader(io.StringIO(text[: text.rfind(_END) + len(_END)] if _END in text else "", newline="")))
    header = tuple(found[0]) if found else ()
    if text and (header[: len(_BEFORE)] != _BEFORE or header[-len(_AFTER) :] != _AFTER):
        raise InvalidInputError(f"{path} wasn't written by `aimic predict`, so it can't be resumed. It was kept.")
    rows = tuple(tuple(row) for row in found[1:] if len(row) == len(header) and not row[_ERROR])
    models = {row[_MODEL] for row in rows}
    if any(said.rpartition(":")[0] != safe(model) for said in models) or len(models) > 1:
        raise InvalidInputError(
            f"{path} has answers of {', '.join(sorted(models))}. Resume with that model, or write to another file. "
            "It was kept."
        )
    bundles = {row[_BUNDLE] for row in rows}
    if len(bundles) > 1:
        raise InvalidInputError(f"{path} has answers of several bundles; write to another file. It was kept.")
    version = int(models.pop().rpartition(":")[2]) if models else None
    return Kept(header, rows, version, bundles.pop() if bundles else None)


def _begun(path: Path, header: tuple[str, ...], kept: Kept | None) -> TextIO:
    """The file, with the rows that stay; until they are all in the new one, the old one is in its place."""
    fresh = path.with_name(f"{path.name}.part") if kept else path
    file = fresh.open("w", encoding="utf-8", newline="")
    csv.writer(file, lineterminator=_END).writerows((header, *(kept.rows if kept else ())))
    if kept:
        file.flush()
        os.fsync(file.fileno())
        fresh.replace(path)
    return file


def _row(file: Path, result: ImageResult, classes: int) -> list[object]:
    answer = result.answer
    if answer is None:
        said = result.error.message if result.error else ""
        return [cell_of(file), "", *("" for _ in range(classes)), "", "", safe(said), "", ""]
    shares = (f"{share:.6f}" for share in answer.probabilities.values())
    by = f"{safe(answer.model)}:{answer.version}"
    return [cell_of(file), safe(answer.label or ""), *shares, answer.abstained, answer.reason or "", "", by,
            answer.bundle_hash]  # fmt: skip


def cell_of(file: Path) -> str:
    """How a file is named in the CSV: in full, so that resuming from another folder takes no other file for it."""
    return safe(printable(str(file.absolute())))


def safe(cell: str) -> str:
    """Spreadsheets run cells that begin like a formula (OWASP: CSV injection); a quote in front stops that."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
