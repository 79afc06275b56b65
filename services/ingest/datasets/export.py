"""A version as a zip, written while it is sent: CLASS/filename and labels.csv. Memory holds one piece at a time."""

import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import cast

from aimic.domain.site import Principal
from services.ingest.audit.service import record
from services.ingest.datasets import repository
from services.ingest.datasets.reading import VersionData, fetch_version, load_version
from services.ingest.dependencies import Ingest

_EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    "image/gif": ".gif",
}
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_MAX_PART = 100
_LARGE = 1 << 31
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
"""The earliest date of a zip: the same version gives the same bytes."""


class _Sink(io.RawIOBase):
    """What the zip has written and nobody has taken yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        piece = bytes(cast("bytes", data))
        self._parts.append(piece)
        return len(piece)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def export(parts: Ingest, principal: Principal, name: str, version: int) -> Iterator[bytes]:
    """The zip's bytes in pieces. NotFoundError before the first piece; the export is written down."""
    site = principal.site
    fetch_version(parts.database, parts.blobs, site, name, version)
    with parts.database.read(site) as session:
        data = load_version(session, parts.blobs, site, name, version)
        row = repository.dataset_named(session, site, name)
        assert row is not None
        shas = [sample.sha256 for sample in data.manifest.samples]
        known = repository.file_names(session, site, row.id, shas)
        types = repository.media_types_of(session, site, shas)
    with parts.database.begin(site) as session:
        now = parts.database.now(session)
        record(session, now, site, principal.name, "dataset.export", name, version=data.version)
    places = _places(data, [known.get(sha, []) for sha in shas], [_EXTENSIONS.get(types[sha], "") for sha in shas])
    return _pieces(parts, data, places)


def _pieces(parts: Ingest, data: VersionData, places: Sequence[str]) -> Iterator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for place, key, sample in zip(places, data.object_keys, data.manifest.samples, strict=True):
            info = zipfile.ZipInfo(place, _FIRST_DAY)
            with archive.open(info, "w", force_zip64=sample.size >= _LARGE) as member:
                for piece in parts.blobs.read(key):
                    member.write(piece)
                    yield sink.take()
        archive.writestr(zipfile.ZipInfo("labels.csv", _FIRST_DAY), _labels(data, places))
    yield sink.take()


def _places(data: VersionData, names: Sequence[Sequence[str]], extensions: Sequence[str]) -> list[str]:
    """CLASS/name of each sample: the owner's name where it is the only one of its class, else the sample's hash."""
    folders = _folders(data.manifest.classes)
    stems = [_part(found[0].rpartition("/")[2].rpartition(".")[0]) if found else "" for found in names]
    wanted = [
        (folders[sample.label], (stem or sample.sha256) + extension)
        for sample, stem, extension in zip(data.manifest.samples, stems, extensions, strict=True)
    ]
    times = Counter((folder, name.casefold()) for folder, name in wanted)
    return [
        f"{folder}/{name if times[folder, name.casefold()] == 1 else sample.sha256 + extension}"
        for (folder, name), sample, extension in zip(wanted, data.manifest.samples, extensions, strict=True)
    ]


def _folders(classes: Sequence[str]) -> list[str]:
    """A safe folder per class; two classes never share one."""
    folders: list[str] = []
    taken: set[str] = set()
    for label in classes:
        folder = _part(label) or "class"
        number = 2
        while folder.casefold() in taken:
            folder, number = f"{_part(label) or 'class'}_{number}", number + 1
        taken.add(folder.casefold())
        folders.append(folder)
    return folders


def _part(text: str) -> str:
    """One part of a path that is harmless on every system."""
    return _UNSAFE.sub("_", text).strip(" .")[:_MAX_PART]


def _labels(data: VersionData, places: Sequence[str]) -> str:
    text = io.StringIO()
    columns = sorted(data.analysis.columns)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label", "group", *columns])
    for index, (place, sample) in enumerate(zip(places, data.manifest.samples, strict=True)):
        group = "" if sample.group is None else sample.group
        folds = [data.analysis.columns[column][index] or "" for column in columns]
        writer.writerow([place, data.manifest.classes[sample.label], group, *folds])
    return text.getvalue()
