"""The CSV that a lab sends along: which file has which label, patient or fold."""

import csv
import io
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from aimic.errors import InvalidInputError

MAX_CHARACTERS = 50_000_000
MAX_ROWS = 1_000_000
MAX_COLUMNS = 100
_DELIMITERS = ",;\t"
# In order of preference, compared without case, blanks, dashes and underscores.
_FILE = ("path", "filepath", "imagepath", "file", "filename", "image", "imagename", "imagefile", "imageid", "name")
_LABEL = ("label", "class", "category", "classlabel")
_GROUP = ("group", "patient", "slide", "groupid", "patientid", "slideid", "subject", "subjectid")


@dataclass(frozen=True, slots=True)
class Row:
    """What the CSV says of one file."""

    number: int
    """Line of the table, the header being 1."""
    file: str
    label: str | None
    group: str | None
    columns: Mapping[str, str]
    """Every further column by its name in the header; empty cells are left out."""

    def says_the_same_as(self, other: "Row") -> bool:
        """Whether two rows agree, wherever they stand."""
        return (self.label, self.group, self.columns) == (other.label, other.group, other.columns)


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV that has been read."""

    rows: tuple[Row, ...]
    has_label: bool
    has_group: bool
    columns: tuple[str, ...]


def normal_path(text: str) -> str:
    """A path in one spelling: composed Unicode, forward slashes, no leading `./` or `/`."""
    parts = unicodedata.normalize("NFC", text).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in {"", "."})


def read_table(text: str) -> Table:
    """Read a CSV with a header, separated by commas, semicolons or tabs, with or without a BOM.

    InvalidInputError in plain words when it is too large or has no column that names the file.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidInputError("The labels CSV is larger than 50 million characters; please split the import.")
    text = text.removeprefix("\ufeff")
    if text.startswith("sep="):
        text = text.partition("\n")[2]
    delimiter, header = _header(text)
    names = [_plain(cell) for cell in header]
    file, label, group = (_find(names, wanted) for wanted in (_FILE, _LABEL, _GROUP))
    further = {
        index: cell.strip() for index, cell in enumerate(header) if index not in {file, label, group} and cell.strip()
    }
    _check_header(header, file, label, group, further)
    rows = []
    for number, cells in enumerate(_reader(text, delimiter), start=1):
        if number > MAX_ROWS:
            raise InvalidInputError(f"The labels CSV has more than {MAX_ROWS:,} rows; please split the import.")
        if number == 1 or not _cell(cells, file):
            continue
        columns = {name: value for index, name in further.items() if (value := _cell(cells, index))}
        path = normal_path(_cell(cells, file) or "")
        rows.append(Row(number, path, _cell(cells, label), _cell(cells, group), columns))
    return Table(tuple(rows), label is not None, group is not None, tuple(further.values()))


def _header(text: str) -> tuple[str, list[str]]:
    for delimiter in _DELIMITERS:
        header = next(_reader(text, delimiter), [])
        if len(header) > 1 and _find([_plain(cell) for cell in header], _FILE) is not None:
            return delimiter, header
    raise InvalidInputError(
        "The labels CSV has no column that names the file. Its first line must be a header with a column "
        "file, filename, image, path or name, and at least one more, such as label; "
        "separate columns by commas, semicolons or tabs."
    )


def _reader(text: str, delimiter: str) -> "_Rows":
    return _Rows(text, delimiter)


class _Rows:
    """The rows of a CSV; a malformed one is an InvalidInputError with its line."""

    def __init__(self, text: str, delimiter: str) -> None:
        self._reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)

    def __iter__(self) -> "_Rows":
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._reader)
        except csv.Error as error:
            raise InvalidInputError(
                f"The labels CSV can't be read at line {self._reader.line_num}: {error}."
            ) from error


def _check_header(
    header: list[str], file: int | None, label: int | None, group: int | None, further: dict[int, str]
) -> None:
    if len(header) > MAX_COLUMNS:
        raise InvalidInputError(f"The labels CSV has more than {MAX_COLUMNS} columns.")
    if file is not None and label is None and group is None and not further:
        raise InvalidInputError("The labels CSV names files but says nothing about them: add a column label.")
    twice = {name for name in further.values() if list(further.values()).count(name) > 1}
    if twice:
        raise InvalidInputError(f"The labels CSV has two columns called {min(twice)!r}; please rename one.")


def _plain(cell: str) -> str:
    return "".join(character for character in cell.casefold() if character.isalnum())


def _find(names: list[str], wanted: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _cell(cells: list[str], index: int | None) -> str | None:
    if index is None or index >= len(cells):
        return None
    return unicodedata.normalize("NFC", cells[index]).strip() or None
