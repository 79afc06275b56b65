"""The rows of data sets, versions and samples."""

import sys
from collections.abc import Iterable, Sequence

from sqlalchemy import Select, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from services.ingest.datasets.tables import DatasetRow, ItemRow, NameRow, SampleRow, ThumbRow, VersionRow
from services.ingest.imports.tables import ImportRow, RefusalRow

_ASK = 400
"""Values in one IN list; every database takes that many."""


def datasets(session: Session, site: str, after: str, limit: int) -> Sequence[DatasetRow]:
    """Data sets by name."""
    return session.scalars(
        select(DatasetRow)
        .where(DatasetRow.site == site, DatasetRow.name > after)
        .order_by(DatasetRow.name)
        .limit(limit)
    ).all()


def dataset_named(session: Session, site: str, name: str) -> DatasetRow | None:
    """One data set."""
    return session.scalars(select(DatasetRow).where(DatasetRow.site == site, DatasetRow.name == name)).first()


def newest(session: Session, site: str, dataset_id: str) -> VersionRow | None:
    """A data set's newest version."""
    return session.scalars(
        select(VersionRow)
        .where(VersionRow.site == site, VersionRow.dataset_id == dataset_id)
        .order_by(VersionRow.version.desc())
        .limit(1)
    ).first()


def holds(session: Session, site: str, dataset_id: str, sha256: str) -> bool:
    """Whether the data set has this sample."""
    found = exists().where(ItemRow.site == site, ItemRow.dataset_id == dataset_id, ItemRow.sha256 == sha256)
    return bool(session.scalar(select(found)))


def media_types_of(session: Session, site: str, shas: Sequence[str]) -> dict[str, str]:
    """Stored media type by sample."""
    found: dict[str, str] = {}
    for part in parts_of(shas):
        rows = session.execute(
            select(SampleRow.sha256, SampleRow.media_type).where(SampleRow.site == site, SampleRow.sha256.in_(part))
        )
        found.update({sha256: sys.intern(media_type) for sha256, media_type in rows})
    return found


def samples_of(session: Session, site: str, shas: Sequence[str]) -> dict[str, SampleRow]:
    """Samples by name."""
    found: dict[str, SampleRow] = {}
    for part in parts_of(shas):
        rows = session.scalars(select(SampleRow).where(SampleRow.site == site, SampleRow.sha256.in_(part)))
        found.update({row.sha256: row for row in rows})
    return found


def thumbs_of(session: Session, site: str, shas: Sequence[str]) -> Iterable[bytes]:
    """48×48×3 bytes of each of these samples, in their order."""
    for part in parts_of(shas):
        rows = session.execute(
            select(ThumbRow.sha256, ThumbRow.pixels).where(ThumbRow.site == site, ThumbRow.sha256.in_(part))
        )
        found = dict(rows.all())
        yield from (found[sha256] for sha256 in part)


def phashes_of(session: Session, site: str, shas: Sequence[str]) -> Iterable[str]:
    """Perceptual hash of each of these samples, in their order."""
    for part in parts_of(shas):
        rows = session.execute(
            select(SampleRow.sha256, SampleRow.phash).where(SampleRow.site == site, SampleRow.sha256.in_(part))
        )
        found = dict(rows.all())
        yield from (found[sha256] for sha256 in part)


def file_names(session: Session, site: str, dataset_id: str, shas: Sequence[str]) -> dict[str, list[str]]:
    """Guarded: the names of the source files of these samples, in order."""
    found: dict[str, list[str]] = {}
    for part in parts_of(shas):
        rows = session.execute(
            select(ItemRow.sha256, NameRow.name)
            .join(NameRow, (NameRow.site == ItemRow.site) & (NameRow.key == ItemRow.name_key))
            .where(ItemRow.site == site, ItemRow.dataset_id == dataset_id, ItemRow.sha256.in_(part))
            .order_by(NameRow.name)
        )
        for sha256, name in rows:
            found.setdefault(sha256, []).append(name)
    return found


def refused_count(session: Session, site: str, dataset_id: str, version: int) -> int:
    """How many files stayed out on the way to a version."""
    query = _refused(site, dataset_id, version).subquery()
    return session.scalar(select(func.count()).select_from(query)) or 0


def refused(
    session: Session, site: str, dataset_id: str, version: int, after: tuple[str, int], limit: int
) -> list[tuple[str, int, str, str, str]]:
    """(import id, position, name, code, reason) of files that stayed out, after a place in that order."""
    query = _refused(site, dataset_id, version).subquery()
    rows = session.execute(
        select(query.c.import_id, query.c.position, NameRow.name, query.c.code, query.c.reason)
        .outerjoin(NameRow, (NameRow.site == site) & (NameRow.key == query.c.name_key))
        .where(tuple_(query.c.import_id, query.c.position) > tuple_(*after))
        .order_by(query.c.import_id, query.c.position)
        .limit(limit)
    )
    return [(import_id, position, name or "", code, reason) for import_id, position, name, code, reason in rows]


def _refused(site: str, dataset_id: str, version: int) -> Select[str, int, str, str, str]:
    """The newest word on each refused file, without files that came in since under the same name."""
    later, later_import = aliased(RefusalRow), aliased(ImportRow)
    said_again = (
        exists()
        .where(
            later.site == site,
            later.name_key == RefusalRow.name_key,
            # A file refused by its name alone was never read, so that its name has to do.
            or_(later.received == RefusalRow.received, later.received == "", RefusalRow.received == ""),
            later_import.site == site,
            later_import.id == later.import_id,
            later_import.dataset_id == dataset_id,
            later_import.version <= version,
            tuple_(later_import.created_at, later_import.id, later.position)
            > tuple_(ImportRow.created_at, ImportRow.id, RefusalRow.position),
        )
        .correlate(ImportRow, RefusalRow)
    )
    came_in = exists().where(
        ItemRow.site == site,
        ItemRow.dataset_id == dataset_id,
        or_(ItemRow.received == RefusalRow.received, RefusalRow.received == ""),
        ItemRow.name_key == RefusalRow.name_key,
    )
    return (
        select(RefusalRow.import_id, RefusalRow.position, RefusalRow.name_key, RefusalRow.code, RefusalRow.reason)
        .join(ImportRow, (ImportRow.site == RefusalRow.site) & (ImportRow.id == RefusalRow.import_id))
        .where(
            RefusalRow.site == site,
            ImportRow.dataset_id == dataset_id,
            ImportRow.version <= version,
            ~said_again,
            ~came_in,
        )
    )


def parts_of(values: Sequence[str]) -> Iterable[Sequence[str]]:
    """Slices that fit one IN list."""
    return (values[start : start + _ASK] for start in range(0, len(values), _ASK))
