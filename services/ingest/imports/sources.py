"""The uploads of an import as one sequence of files, the same at every reading."""

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from aimic.domain.dataset import LabelRule, Refusal
from aimic.domain.labels import Labeller, compile_rule
from aimic.imaging.archives import Entry, Ignored, Walked, count, walk
from services.ingest.dependencies import Ingest
from services.ingest.uploads.service import open_upload

Opened = Iterable[tuple[str, BinaryIO]]
"""(file name, seekable file) of each upload, in the order asked for; can be gone through again."""


class UploadedFiles:
    """The uploads of an import, opened one after the other: there may be thousands."""

    def __init__(self, parts: Ingest, site: str, uploads: Sequence[str]) -> None:
        self._parts, self._site, self._uploads = parts, site, uploads

    def __iter__(self) -> Iterator[tuple[str, BinaryIO]]:
        for upload_id in self._uploads:
            with self._parts.database.read(self._site) as session:
                name, file = open_upload(session, self._parts.blobs, self._site, upload_id)
            with file:
                yield name, file


def files(uploads: Opened) -> Iterator[Walked]:
    """Everything in all uploads, in order."""
    for name, file in uploads:
        yield from walk(file, name)


def total(uploads: Opened) -> int | None:
    """How many files there are to look at; None when only unpacking could tell."""
    counts = [count(file) for _, file in uploads]
    return None if None in counts else sum(number or 0 for number in counts)


def labeller(rule: LabelRule, uploads: Opened) -> Labeller:
    """The rule, ready. With a CSV, all names are read first, so that an entry that fits two files is noticed."""
    if rule.labels_csv is None:
        return compile_rule(rule)
    return compile_rule(rule, [entry.name for entry in files(uploads) if isinstance(entry, Entry)])


def counted(uploads: Opened, skip: int) -> Iterator[tuple[int, int, Entry | Refusal]]:
    """(position, files ignored so far, file) from position `skip` on."""
    position = ignored = 0
    for entry in files(uploads):
        if isinstance(entry, Ignored):
            ignored += 1
            continue
        if position >= skip:
            yield position, ignored, entry
        position += 1
