"""Data sets as a person sees them. Names of files are shown to the site's own people only, from the guarded table."""

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy.orm import Session

from aimic.domain.dataset import Dataset, DatasetVersion, Finding, Refusal, Sample, SampleView
from aimic.domain.site import Principal
from aimic.errors import InvalidInputError, NotFoundError
from services.ingest.audit.service import record
from services.ingest.datasets import repository
from services.ingest.datasets.describing import with_names
from services.ingest.datasets.reading import find_version, load_manifest, object_keys
from services.ingest.datasets.tables import DatasetRow, SampleRow, VersionRow
from services.ingest.datasets.thumbnails import Thumbnails
from services.ingest.dependencies import Ingest
from services.ingest.paging import CursorPart, Page, PageRequest, cut


class StoredImage(NamedTuple):
    """A sample's stored bytes, streamed."""

    media_type: str
    size: int
    pieces: Iterator[bytes]


class DatasetService:
    """The decisions about data sets of all sites."""

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts

    def all(self, site: str, page: PageRequest) -> Page[Dataset]:
        """Data sets by name."""
        after = page.after()
        with self._parts.database.read(site) as session:
            rows = repository.datasets(session, site, str(after[0]) if after else "", page.limit + 1)
            return cut(rows, page, lambda row: _dataset(session, row), lambda row: (row.name,))

    def show(self, site: str, name: str) -> Dataset:
        """One data set with its newest version."""
        with self._parts.database.read(site) as session:
            return _dataset(session, _found(session, site, name))

    def version(self, site: str, name: str, version: int) -> DatasetVersion:
        """One version with what is worth knowing about it."""
        with self._parts.database.read(site) as session:
            return _version(session, name, find_version(session, site, name, version))

    def samples(self, site: str, name: str, version: int, label: str | None, page: PageRequest) -> Page[SampleView]:
        """Samples in manifest order, of one class if asked."""
        start = _position(page.after())
        with self._parts.database.read(site) as session:
            row = find_version(session, site, name, version)
        manifest = load_manifest(self._parts.blobs, site, row.manifest_hash)
        wanted = None if label is None else _label(manifest.classes, label)
        chosen: list[tuple[int, Sample]] = []
        for index in range(start, len(manifest.samples)):
            if wanted is None or manifest.samples[index].label == wanted:
                chosen.append((index, manifest.samples[index]))
                if len(chosen) > page.limit:
                    break
        shas = [sample.sha256 for _, sample in chosen]
        with self._parts.database.read(site) as session:
            rows = repository.samples_of(session, site, shas)
            names = repository.file_names(session, site, row.dataset_id, shas)

        def show(item: tuple[int, Sample]) -> SampleView:
            sample = item[1]
            known = names.get(sample.sha256, [])
            return _sample(sample, rows[sample.sha256], manifest.classes, known[0] if known else None)

        return cut(chosen, page, show, lambda item: (item[0] + 1,))

    def refused(self, site: str, name: str, version: int, page: PageRequest) -> Page[Refusal]:
        """Files that stayed out on the way to a version, each with the newest reason."""
        after = page.after(2)
        place = (str(after[0]), int(after[1])) if after else ("", -1)
        with self._parts.database.read(site) as session:
            row = find_version(session, site, name, version)
            rows = repository.refused(session, site, row.dataset_id, version, place, page.limit + 1)
        return cut(rows, page, lambda r: Refusal(name=r[2], code=r[3], reason=r[4]), lambda r: (r[0], r[1]))

    def image(self, principal: Principal, name: str, sha256: str) -> StoredImage:
        """The stored bytes of a sample of this data set; reading them is written down."""
        with self._parts.database.begin(principal.site) as session:
            row = self._sample(session, principal.site, name, sha256)
            key = object_keys(session, principal.site, [sha256])[0]
            now = self._parts.database.now(session)
            record(session, now, principal.site, principal.name, "image.read", sha256, dataset=name)
        return StoredImage(row.media_type, row.size, self._parts.blobs.read(key))

    def thumbnail(self, site: str, name: str, sha256: str, size: int, thumbnails: Thumbnails) -> bytes:
        """A PNG of at most `size` pixels a side."""
        with self._parts.database.read(site) as session:
            row = self._sample(session, site, name, sha256)
            key = object_keys(session, site, [sha256])[0]
        return thumbnails.png(lambda: self._parts.blobs.get(key), row.width * row.height, size)

    def _sample(self, session: Session, site: str, name: str, sha256: str) -> SampleRow:
        dataset = _found(session, site, name)
        row = session.get(SampleRow, (site, sha256))
        if row is None or not repository.holds(session, site, dataset.id, sha256):
            raise NotFoundError(f"Data set {name!r} has no such image.")
        return row


def _found(session: Session, site: str, name: str) -> DatasetRow:
    row = repository.dataset_named(session, site, name)
    if row is None:
        raise NotFoundError(f"There is no data set {name!r}.")
    return row


def _dataset(session: Session, row: DatasetRow) -> Dataset:
    latest = repository.newest(session, row.site, row.id)
    return Dataset(
        name=row.name,
        latest=None if latest is None else _version(session, row.name, latest),
        created_at=row.created_at,
    )


def _version(session: Session, name: str, row: VersionRow) -> DatasetVersion:
    findings = [Finding.model_validate(finding) for finding in row.findings]
    return DatasetVersion(
        dataset=name,
        version=row.version,
        manifest_hash=row.manifest_hash,
        classes=tuple(row.classes),
        counts=tuple(row.counts),
        groups=row.groups,
        refused=repository.refused_count(session, row.site, row.dataset_id, row.version),
        findings=with_names(session, row.site, findings),
        created_at=row.created_at,
    )


def _sample(sample: Sample, row: SampleRow, classes: tuple[str, ...], name: str | None) -> SampleView:
    return SampleView(
        sha256=sample.sha256,
        label=classes[sample.label],
        group=sample.group,
        name=name,
        width=row.width,
        height=row.height,
        media_type=row.media_type,
        size=row.size,
    )


def _position(after: tuple[CursorPart, ...] | None) -> int:
    return 0 if after is None else max(0, int(after[0]))


def _label(classes: tuple[str, ...], label: str) -> int:
    if label not in classes:
        raise InvalidInputError(f"There is no class {label[:60]!r} here; the classes are {', '.join(classes[:20])}.")
    return classes.index(label)
