"""The rows of imports, and of what they bring in."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, select, tuple_, update
from sqlalchemy.orm import Session

from aimic.domain.job import Status
from services.ingest.datasets.tables import ItemRow, NameRow, ObjectRow, SampleRow
from services.ingest.imports.tables import ImportRow, RefusalRow
from services.ingest.leases import claimable
from services.ingest.writing import insert, serialised, table_of

_ASK = 400
"""Values in one IN list; every database takes that many."""


def find(session: Session, site: str, import_id: str, *, lock: bool = False) -> ImportRow | None:
    """One import; with `lock` nobody else changes it in this unit of work."""
    return session.get(ImportRow, (site, import_id), with_for_update=lock)


def any_claimable(session: Session, now: datetime) -> bool:
    """Whether asking for work is worth a lock."""
    return session.scalars(select(ImportRow.id).where(_claimable(now)).limit(1)).first() is not None


def next_claimable(session: Session, now: datetime) -> ImportRow | None:
    """The oldest import to be worked on. One data set is imported into by one import at a time."""
    row = session.scalars(
        select(ImportRow)
        .where(_claimable(now), ImportRow.dataset_id.not_in(_running(now)))
        .order_by(ImportRow.created_at, ImportRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    # Another replica may have begun with the same data set in the meantime: of those who take turns the second sees it.
    serialised(session, "import into", row.site, row.dataset_id)
    taken = session.scalars(_running(now).where(ImportRow.dataset_id == row.dataset_id).limit(1)).first()
    return row if taken is None else None


def _running(now: datetime) -> Select[str]:
    return select(ImportRow.dataset_id).where(ImportRow.status == Status.RUNNING, ImportRow.lease_until >= now)


def _claimable(now: datetime) -> ColumnElement[bool]:
    waited = or_(ImportRow.not_before.is_(None), ImportRow.not_before <= now)
    return and_(claimable(ImportRow, now), waited)


def open_import_of(session: Session, site: str, import_ids: Iterable[str]) -> ImportRow | None:
    """An import of these ids that isn't over."""
    return session.scalars(
        select(ImportRow).where(
            ImportRow.site == site,
            ImportRow.id.in_(list(import_ids)),
            or_(ImportRow.status == Status.READY, ImportRow.status == Status.RUNNING),
        )
    ).first()


def known_by_received(session: Session, site: str, received: Sequence[str]) -> dict[str, str]:
    """Sample by keyed hash of received bytes, for those that the site has stored already."""
    found: dict[str, str] = {}
    for part in _parts(received):
        rows = session.execute(
            select(ItemRow.received, ItemRow.sha256)
            .join(ObjectRow, (ObjectRow.site == ItemRow.site) & (ObjectRow.sha256 == ItemRow.sha256))
            .where(ItemRow.site == site, ItemRow.received.in_(part), ObjectRow.dying_at.is_(None))
        )
        found.update(dict(rows.all()))
    return found


def later_generations(session: Session, site: str) -> dict[str, int]:
    """Generation under which a sample is, or is to be, stored, where it isn't the first: hardly any ever was
    deleted."""
    rows = session.execute(
        select(ObjectRow.sha256, ObjectRow.generation, ObjectRow.dying_at).where(
            ObjectRow.site == site, or_(ObjectRow.generation > 0, ObjectRow.dying_at.is_not(None))
        )
    )
    return {sha256: generation + (dying is not None) for sha256, generation, dying in rows}


def lock_objects(session: Session, site: str, samples: Sequence[str]) -> dict[str, ObjectRow]:
    """The objects' rows, locked so that a reference can be added."""
    found: dict[str, ObjectRow] = {}
    for part in _parts(sorted(samples)):
        rows = session.scalars(
            select(ObjectRow)
            .where(ObjectRow.site == site, ObjectRow.sha256.in_(part))
            .order_by(ObjectRow.sha256)
            .with_for_update()
        )
        found.update({row.sha256: row for row in rows})
    return found


def present_samples(session: Session, site: str, samples: Sequence[str]) -> set[str]:
    """Which of these samples have a row."""
    found: set[str] = set()
    for part in _parts(samples):
        found.update(
            session.scalars(select(SampleRow.sha256).where(SampleRow.site == site, SampleRow.sha256.in_(part)))
        )
    return found


def present_items(
    session: Session, site: str, dataset_id: str, keys: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Which of these (received, name_key) the data set has."""
    found: set[tuple[str, str]] = set()
    for part in _parts(keys):
        rows = session.execute(
            select(ItemRow.received, ItemRow.name_key).where(
                ItemRow.site == site,
                ItemRow.dataset_id == dataset_id,
                tuple_(ItemRow.received, ItemRow.name_key).in_(part),
            )
        )
        found.update((one, name_key) for one, name_key in rows)
    return found


def put_items(session: Session, values: Sequence[Mapping[str, Any]]) -> None:
    """Insert items; the same bytes under the same name take the newer label, group and columns."""
    if not values:
        return
    statement = insert(session, ItemRow)
    newer = {name: statement.excluded[name] for name in ("sha256", "label", "group_key", "columns")}
    key = ["site", "dataset_id", "received", "name_key"]
    session.execute(statement.on_conflict_do_update(index_elements=key, set_=newer), values)


def add_references(session: Session, site: str, counts: Mapping[str, int]) -> None:
    """Count new references to objects; their rows are locked."""
    if counts:
        statement = (
            update(table_of(ObjectRow))
            .where(ObjectRow.site == bindparam("b_site"), ObjectRow.sha256 == bindparam("b_sha256"))
            .values(refs=ObjectRow.refs + bindparam("b_more"))
        )
        values = [{"b_site": site, "b_sha256": sha, "b_more": more} for sha, more in counts.items()]
        session.connection().execute(statement, values)


def refusals(session: Session, site: str, import_id: str, after: int, limit: int) -> list[tuple[int, str, str, str]]:
    """(position, name, code, reason) of refused files after a position."""
    rows = session.execute(
        select(RefusalRow.position, NameRow.name, RefusalRow.code, RefusalRow.reason)
        .outerjoin(NameRow, (NameRow.site == RefusalRow.site) & (NameRow.key == RefusalRow.name_key))
        .where(RefusalRow.site == site, RefusalRow.import_id == import_id, RefusalRow.position > after)
        .order_by(RefusalRow.position)
        .limit(limit)
    )
    return [(position, name or "", code, reason) for position, name, code, reason in rows]


def _parts(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _ASK] for start in range(0, len(values), _ASK))
