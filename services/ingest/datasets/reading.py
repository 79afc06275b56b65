"""A version with everything that splitting, training and judging need, as it was when the version was made."""

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

from sqlalchemy import select
from sqlalchemy.orm import Session

from aimic.domain.base import Value
from aimic.domain.dataset import Finding, Manifest
from aimic.errors import CorruptError, InvalidInputError, NotFoundError, UnavailableError
from aimic.ports.blobs import Blobs
from services.ingest.database import Database
from services.ingest.datasets.facts import FactsTable, load_facts
from services.ingest.datasets.tables import DatasetRow, ObjectRow, VersionRow

T = TypeVar("T")
_MAX_ANALYSIS = 1 << 30
WAIT_S = 5.0
"""Longest wait for what somebody else is reading just now: who waits holds a connection of the records, perhaps."""


class Analysis(Value):
    """What was worked out of a version's samples, each list in manifest order."""

    clusters: tuple[int, ...]
    """Exact and near duplicates share a number, dense from 0."""
    phashes: tuple[str, ...]
    pixels: tuple[str, ...]
    """SHA-256 of the decoded pixels."""
    group_keys: tuple[str | None, ...]
    """Keyed hash of the real patient or slide, comparable between data sets of the site."""
    columns: dict[str, tuple[str | None, ...]]
    """Columns that could name folds (few distinct values); others stay with the guarded names."""


@dataclass(frozen=True)
class VersionData:
    """One version; sequences are in manifest order."""

    dataset: str
    version: int
    manifest_hash: str
    manifest: Manifest
    analysis: Analysis
    object_keys: Sequence[str]
    """Where each sample's bytes lie in the blobs."""
    facts: FactsTable
    findings: tuple[Finding, ...]

    @property
    def clusters(self) -> tuple[int, ...]:
        """Duplicate cluster of each sample."""
        return self.analysis.clusters

    @property
    def phashes(self) -> tuple[str, ...]:
        """Perceptual hash of each sample."""
        return self.analysis.phashes

    @property
    def pixels(self) -> tuple[str, ...]:
        """SHA-256 of each sample's decoded pixels."""
        return self.analysis.pixels

    @property
    def group_keys(self) -> tuple[str | None, ...]:
        """Keyed hash of each sample's real group."""
        return self.analysis.group_keys

    def column(self, name: str) -> tuple[str | None, ...]:
        """A column of the labels CSV; InvalidInputError names those that there are."""
        found = self.analysis.columns.get(name)
        if found is None:
            there = ", ".join(sorted(self.analysis.columns)) or "none"
            raise InvalidInputError(
                f"Data set {self.dataset} has no column {name!r} that could give folds (columns known: {there}). "
                "Import it with a labels CSV that has the column, with at most 64 different values."
            )
        return found


def fetch_version(database: Database, blobs: Blobs, site: str, name: str, version: int | None = None) -> None:
    """Have in memory what `load_version` takes from the store, so that a slow store holds up no unit of work."""
    with database.read(site) as session:
        row = find_version(session, site, name, version)
    load_manifest(blobs, site, row.manifest_hash)
    load_analysis(blobs, row.analysis_key)


def load_version(session: Session, blobs: Blobs, site: str, name: str, version: int | None = None) -> VersionData:
    """A version of data set `name`, the newest without a number.

    NotFoundError when there is no such version, CorruptError when what is stored doesn't match its hash.
    """
    row = find_version(session, site, name, version)
    manifest = load_manifest(blobs, site, row.manifest_hash)
    return VersionData(
        dataset=name,
        version=row.version,
        manifest_hash=row.manifest_hash,
        manifest=manifest,
        analysis=load_analysis(blobs, row.analysis_key),
        object_keys=object_keys(session, site, [sample.sha256 for sample in manifest.samples]),
        facts=_FACTS.get(
            (id(blobs), site, row.dataset_id, row.manifest_hash),
            lambda: load_facts(session, site, row.dataset_id, manifest),
        ),
        findings=tuple(Finding.model_validate(finding) for finding in row.findings),
    )


def find_version(session: Session, site: str, name: str, version: int | None = None) -> VersionRow:
    """The row of a version, the newest without a number; NotFoundError in words."""
    query = (
        select(VersionRow)
        .join(DatasetRow, (DatasetRow.site == VersionRow.site) & (DatasetRow.id == VersionRow.dataset_id))
        .where(VersionRow.site == site, DatasetRow.name == name)
        .order_by(VersionRow.version.desc())
        .limit(1)
    )
    row = session.scalars(query if version is None else query.where(VersionRow.version == version)).first()
    if row is not None:
        return row
    if version is None:
        raise NotFoundError(f"There is no data set {name!r} with images in it yet. Import some first.")
    raise NotFoundError(f"Data set {name!r} has no version {version}.")


def load_manifest(blobs: Blobs, site: str, manifest_hash: str) -> Manifest:
    """The manifest by its hash, verified. Immutable, so the last few stay in memory."""
    return _MANIFESTS.get((id(blobs), site, manifest_hash), lambda: _read_manifest(blobs, site, manifest_hash))


def load_analysis(blobs: Blobs, key: str) -> Analysis:
    """The analysis by its key, verified. Immutable, so the last few stay in memory."""
    return _ANALYSES.get((id(blobs), key), lambda: _read_analysis(blobs, key))


class _Few(Generic[T]):
    """The values asked for last, as long as they have at most `most` samples together. What is named by its hash is
    never out of date. Two who ask at once for one value don't read it twice: the second waits, for WAIT_S at most."""

    def __init__(self, samples: Callable[[T], int], most: int = 200_000) -> None:
        self._samples, self._most = samples, most
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._reading: dict[Hashable, Future[T]] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """The value; UnavailableError when somebody has been reading it for too long."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            theirs = self._reading.get(key)
            mine = self._reading[key] = theirs or Future()
        if theirs is None:
            return self._read(key, mine, read)
        try:
            return theirs.result(WAIT_S)
        except TimeoutError:
            raise UnavailableError(
                "This data set is still being read, which takes longer than usual just now. Nothing is lost; try again "
                "in a moment.",
                retry_after_s=WAIT_S,
            ) from None

    def _read(self, key: Hashable, mine: Future[T], read: Callable[[], T]) -> T:
        try:
            value = read()
        except BaseException as error:
            with self._lock:
                del self._reading[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._reading[key]
            self._values[key] = value
            while len(self._values) > 1 and sum(map(self._samples, self._values.values())) > self._most:
                self._values.popitem(last=False)
        mine.set_result(value)
        return value


_MANIFESTS: _Few[Manifest] = _Few(lambda manifest: len(manifest.samples))
_ANALYSES: _Few[Analysis] = _Few(lambda analysis: len(analysis.clusters))
_FACTS: _Few[FactsTable] = _Few(len)


def _read_manifest(blobs: Blobs, site: str, manifest_hash: str) -> Manifest:
    data = blobs.get(manifest_key(site, manifest_hash))
    if hashlib.sha256(data).hexdigest() != manifest_hash:
        raise CorruptError(
            f"The list of images {manifest_hash[:12]}… was changed after it was stored, so it isn't used. "
            "Restore it from a backup, or import the data set again."
        )
    return Manifest.model_validate_json(data)


def _read_analysis(blobs: Blobs, key: str) -> Analysis:
    data = blobs.get(key)
    if hashlib.sha256(data).hexdigest() != key.rpartition("/")[2]:
        raise CorruptError("What was worked out about this data set version was changed on disk; import it again.")
    return Analysis.model_validate_json(zlib.decompressobj().decompress(data, _MAX_ANALYSIS))


def store_analysis(blobs: Blobs, site: str, analysis: Analysis) -> str:
    """Store it by its hash; the key."""
    data = zlib.compress(analysis.model_dump_json().encode(), 6)
    key = f"{site}/analyses/{hashlib.sha256(data).hexdigest()}"
    blobs.put(key, data)
    return key


def manifest_key(site: str, manifest_hash: str) -> str:
    """Where a manifest lies."""
    return f"{site}/manifests/{manifest_hash}"


def sample_key(site: str, sha256: str, generation: int) -> str:
    """Where a sample's bytes lie."""
    return f"{site}/samples/{sha256[:2]}/{sha256}/{generation}"


class ObjectKeys(Sequence[str]):
    """Where the bytes of samples lie; each is made when it is asked for, since there can be very many."""

    def __init__(self, site: str, samples: Sequence[str], later: Mapping[str, int]) -> None:
        self._site, self._samples, self._later = site, samples, later

    def __len__(self) -> int:
        """How many."""
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """The key of one sample, or of several."""
        if isinstance(index, slice):
            return ObjectKeys(self._site, self._samples[index], self._later)
        sha256 = self._samples[index]
        return sample_key(self._site, sha256, self._later.get(sha256, 0))


def object_keys(session: Session, site: str, samples: Sequence[str]) -> ObjectKeys:
    """Where the bytes of these samples (by name) lie."""
    # Hardly any object was ever deleted and came back, so only those that did are asked for.
    rows = session.execute(
        select(ObjectRow.sha256, ObjectRow.generation).where(ObjectRow.site == site, ObjectRow.generation > 0)
    )
    return ObjectKeys(site, samples, dict(rows.all()))
