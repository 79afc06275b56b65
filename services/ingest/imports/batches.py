"""What a batch of settled candidates changes in the records: all of it at once, under the import's fence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from aimic.errors import ConflictError
from services.ingest.datasets.tables import NameRow, ObjectRow, SampleRow, ThumbRow
from services.ingest.imports import repository
from services.ingest.imports.candidates import Candidate, columns_of
from services.ingest.imports.tables import ImportRow, RefusalRow
from services.ingest.sites.service import SiteKey
from services.ingest.writing import insert_new


def commit_batch(session: Session, row: ImportRow, batch: Sequence[Candidate], key: SiteKey) -> None:
    """Write names, objects, samples, items and refusals of `batch`, and move the import's counts on."""
    site = row.site
    accepted = [one for one in batch if one.sample is not None and one.labelled is not None]
    refused = [one for one in batch if one.sample is None]
    insert_new(session, NameRow, _names(site, batch, key))
    new = _store_samples(session, site, accepted)
    _store_items(session, row, accepted, key)
    insert_new(session, RefusalRow, [_refusal(row, one, key) for one in refused])
    last = batch[-1]
    row.seen, row.ignored = last.position + 1, last.ignored
    row.stored += new
    row.known += len(accepted) - new
    row.refused += len(refused)
    row.attempt = 0


def _names(site: str, batch: Sequence[Candidate], key: SiteKey) -> list[Mapping[str, Any]]:
    names = {key.name(one.name): one.name for one in batch}
    groups = {one.labelled.group for one in batch if one.labelled is not None and one.labelled.group}
    names |= {key.group(group): group for group in groups}
    return [{"site": site, "key": hashed, "name": name} for hashed, name in sorted(names.items())]


def _store_samples(session: Session, site: str, accepted: Sequence[Candidate]) -> int:
    """Rows of samples that the site didn't have; how many those are."""
    found = {one.sample: one.facts for one in accepted if one.sample and one.facts is not None}
    fresh = dict(sorted(found.items()))
    # All at once and in order: another who locks some of them waits before it holds any that we want.
    locked = repository.lock_objects(session, site, sorted({one.sample for one in accepted if one.sample}))
    for sample, facts in fresh.items():
        _check_object(session, site, sample, facts, locked.get(sample))
    session.flush()
    before = repository.present_samples(session, site, list(fresh))
    rows = [
        {"site": site, "sha256": sample} | {name: value for name, value in facts.items() if name in _SAMPLE}
        for sample, facts in fresh.items()
        if sample not in before
    ]
    insert_new(session, SampleRow, rows)
    thumbs = [
        {"site": site, "sha256": sample, "pixels": facts["thumb"]}
        for sample, facts in fresh.items()
        if sample not in before
    ]
    insert_new(session, ThumbRow, thumbs)
    return len(rows)


_SAMPLE = {column.name for column in SampleRow.__table__.columns} - {"site", "sha256"}


def _check_object(session: Session, site: str, sample: str, facts: Mapping[str, Any], found: ObjectRow | None) -> None:
    generation = facts["generation"]
    if found is None and generation == 0:
        session.add(ObjectRow(site=site, sha256=sample, generation=0, size=facts["size"], refs=0))
    elif found is not None and generation == found.generation + (found.dying_at is not None):
        # The bytes were deleted and came back: the new generation is another object than the dying one.
        found.generation, found.dying_at, found.size = generation, None, facts["size"]
    else:
        raise ConflictError("An image was deleted while it was imported again; the import goes on from its last batch.")


def _store_items(session: Session, row: ImportRow, accepted: Sequence[Candidate], key: SiteKey) -> None:
    items = {(one.received, key.name(one.name)): _item(row, one, key) for one in accepted}
    before = repository.present_items(session, row.site, row.dataset_id, list(items))
    added = Counter(str(item["sha256"]) for item_key, item in items.items() if item_key not in before)
    repository.put_items(session, list(items.values()))
    repository.add_references(session, row.site, added)


def _item(row: ImportRow, one: Candidate, key: SiteKey) -> dict[str, Any]:
    assert one.labelled is not None
    return {
        "site": row.site,
        "dataset_id": row.dataset_id,
        "received": one.received,
        "name_key": key.name(one.name),
        "sha256": one.sample,
        "label": one.labelled.label,
        "group_key": key.group(one.labelled.group) if one.labelled.group else None,
        "columns": columns_of(one.labelled),
    }


def _refusal(row: ImportRow, one: Candidate, key: SiteKey) -> dict[str, Any]:
    assert one.refusal is not None
    return {
        "site": row.site,
        "import_id": row.id,
        "position": one.position,
        "name_key": key.name(one.name),
        "received": one.received,
        "code": one.refusal.code,
        "reason": one.refusal.reason,
    }
