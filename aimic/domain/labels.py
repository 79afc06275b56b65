"""Where a label comes from: the folder above, a CSV, or a named group of a pattern. Never a guess."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aimic.domain.dataset import LabelRule, Refusal
from aimic.domain.patterns import MAX_PATH, compile_pattern
from aimic.domain.tables import Row, Table, normal_path, read_table
from aimic.errors import InvalidInputError

MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Labelled:
    """What is known of a file before its pixels are looked at."""

    label: str
    group: str | None = None
    """The patient or slide by its real name: for the guarded table only."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Further CSV columns and named groups of the patterns, such as `fold`."""


class _RefusedError(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


def compile_rule(rule: LabelRule, paths: Iterable[str] = ()) -> "Labeller":
    """Read the rule once. InvalidInputError in plain words when it can't be followed.

    `paths`: all files to come, where they are known; with them a CSV entry that fits two files is noticed.
    """
    table = read_table(rule.labels_csv) if rule.labels_csv is not None else None
    label = compile_pattern(rule.label_pattern, "label pattern") if rule.label_pattern else None
    group = compile_pattern(rule.group_pattern, "group pattern") if rule.group_pattern else None
    if label is not None and "label" not in label.groupindex:
        raise InvalidInputError(
            f"The label pattern {rule.label_pattern!r} has no group called label; "
            r"mark the part that is the label, as in _(?P<label>[01])\."
        )
    if group is not None and "group" not in group.groupindex and group.groups - len(group.groupindex) != 1:
        raise InvalidInputError(
            f"The group pattern {rule.group_pattern!r} must have one group in brackets (or one called group) "
            "around the patient or slide, as in UID_([^_]+)_"
        )
    if table is not None and table.has_label and label is not None:
        raise InvalidInputError("Labels would come from the CSV and from the pattern; please choose one.")
    if table is not None and table.has_group and group is not None:
        raise InvalidInputError("Groups would come from the CSV and from the pattern; please choose one.")
    return Labeller(rule, table, label, group, paths)


class Labeller:
    """A rule, ready to be asked for each file."""

    def __init__(
        self,
        rule: LabelRule,
        table: Table | None,
        label: re.Pattern[str] | None,
        group: re.Pattern[str] | None,
        paths: Iterable[str] = (),
    ) -> None:
        self._names = rule.label_names
        self._table = _Lookup(table, paths) if table is not None else None
        self._label, self._group = label, group

    def of(self, path: str) -> Labelled | Refusal:
        """What `path` (below the root, with `/`) is, or a Refusal that says why nobody knows."""
        try:
            return self._of(normal_path(path))
        except _RefusedError as refused:
            return Refusal(name=path, code=refused.code, reason=refused.reason)

    def _of(self, path: str) -> Labelled:
        if (self._label or self._group) and len(path) > MAX_PATH:
            raise _RefusedError("path_too_long", f"The path is longer than {MAX_PATH} characters.")
        row = self._table.row(path) if self._table else None
        columns = dict(row.columns) if row else {}
        label = self._label_of(path, row, columns)
        group = self._group_of(path, row, columns)
        label = self._names.get(label, label)
        return Labelled(_clean(label, "label"), _clean(group, "group") if group else None, columns)

    def _label_of(self, path: str, row: Row | None, columns: dict[str, str]) -> str:
        if self._table and self._table.has_label:
            if row is None or row.label is None:
                raise _RefusedError("no_label", "The labels CSV doesn't name this file, or gives it no label.")
            return row.label
        if self._label is None:
            return _folder(path)
        match = self._label.search(path)
        if match is None or not match["label"]:
            raise _RefusedError("no_label", f"The label pattern {self._label.pattern!r} isn't found in this path.")
        columns.update(_named(match))
        return match["label"]

    def _group_of(self, path: str, row: Row | None, columns: dict[str, str]) -> str | None:
        if self._group is None:
            return row.group if row else None
        match = self._group.search(path)
        if match is None:
            # An image of an unknown patient could sit on both sides of a fold: the pattern must fit all.
            raise _RefusedError("no_group", f"The group pattern {self._group.pattern!r} isn't found in this path.")
        columns.update(_named(match))
        named = set(self._group.groupindex.values())
        unnamed = next((i for i in range(1, self._group.groups + 1) if i not in named), None)
        found = match["group"] if "group" in self._group.groupindex else match[unnamed or 0]
        if not found:
            raise _RefusedError("no_group", f"The group pattern {self._group.pattern!r} finds an empty group here.")
        return found


def _folder(path: str) -> str:
    parts = path.split("/")
    if len(parts) < 2:
        raise _RefusedError("no_label", "This file lies in no folder, and the folder above a file is its label.")
    return parts[-2]


def _named(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in match.groupdict().items() if name not in {"label", "group"} and value}


def _clean(text: str, what: str) -> str:
    text = unicodedata.normalize("NFC", text).strip()
    if not text or len(text) > MAX_NAME or any(unicodedata.category(c) in {"Cc", "Cs"} for c in text):
        raise _RefusedError(
            f"bad_{what}", f"The {what} is empty, longer than {MAX_NAME} characters or has control characters."
        )
    return text


class _Lookup:
    """Finds a file's row by relative path or by name; the most specific entry wins."""

    def __init__(self, table: Table, paths: Iterable[str]) -> None:
        self.has_label = table.has_label
        self._exact: dict[str, Row | None] = {}
        self._longer: dict[str, Row | None] = {}
        for row in table.rows:
            _add(self._exact, row.file, row)
            for ending in _endings(row.file)[1:]:
                _add(self._longer, ending, row)
        self._matches = Counter(filter(None, (self._number(normal_path(path)) for path in paths)))

    def _number(self, path: str) -> int | None:
        try:
            row = self._find(path)
        except _RefusedError:
            return None
        return row.number if row else None

    def row(self, path: str) -> Row | None:
        row = self._find(path)
        if row is not None and self._matches[row.number] > 1:
            raise _RefusedError(
                "ambiguous_name",
                f"The labels CSV names {row.file} once (line {row.number}), but {self._matches[row.number]} files "
                "fit. Write the folder in the CSV too.",
            )
        return row

    def _find(self, path: str) -> Row | None:
        stem = path.rpartition(".")[0] if "." in path.rpartition("/")[2] else ""
        for spelling in (path, stem):
            for ending in _endings(spelling):
                if ending in self._exact:
                    return _certain(self._exact[ending], ending)
            if spelling and spelling in self._longer:
                return _certain(self._longer[spelling], spelling)
        return None


def _endings(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _add(index: dict[str, Row | None], key: str, row: Row) -> None:
    known = index.get(key, row)
    index[key] = known if known is not None and known.says_the_same_as(row) else None


def _certain(row: Row | None, name: str) -> Row:
    if row is None:
        raise _RefusedError("ambiguous_name", f"The labels CSV names {name} more than once and says different things.")
    return row
