"""Making a data set's next version: gather, find copies, describe, and write it once."""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from aimic.domain.base import canonical_json
from aimic.domain.dataset import Finding
from aimic.errors import ConflictError, InvalidInputError
from aimic.imaging.near import clusters
from services.ingest.datasets import repository
from services.ingest.datasets.contents import Contents, gather
from services.ingest.datasets.describing import describe
from services.ingest.datasets.reading import Analysis, SampleFacts, load_facts, manifest_key, store_analysis
from services.ingest.datasets.tables import DatasetRow, VersionRow
from services.ingest.dependencies import Ingest


class Picture(NamedTuple):
    """What finding copies needs of a sample."""

    pixel_sha256: str
    thumb: bytes


class _Material(NamedTuple):
    """Everything that a version is made from, read in one consistent view."""

    contents: Contents
    phashes: tuple[str, ...]
    facts: tuple[SampleFacts, ...]
    pictures: tuple[Picture, ...]


def make_version(parts: Ingest, site: str, dataset_id: str, principal: str, check: Callable[[], None]) -> int:
    """The number of the version that holds what the data set has now; the newest one's when nothing changed.

    `check` is called between the long steps and may raise to stop. InvalidInputError when every picture
    is set aside.
    """
    with parts.database.read(site) as session:
        contents = gather(session, session.get_one(DatasetRow, (site, dataset_id)))
        latest = repository.newest(session, site, dataset_id)
        if latest is not None and latest.contents_hash == contents.hash:
            return latest.version
        material = _material(session, site, dataset_id, contents)
    if not contents.manifest.samples:
        raise InvalidInputError(
            "Every picture stands under two labels, so there is nothing to make a version of. "
            "Decide which label is right and import again with that one alone."
        )
    check()
    analysis, findings = _worked_out(material, check)
    manifest = contents.manifest
    parts.blobs.put(manifest_key(site, manifest.hash), canonical_json(manifest.model_dump(mode="json")))
    key = store_analysis(parts.blobs, site, analysis)
    check()
    try:
        with parts.database.begin(site) as session:
            row = _row(session, site, dataset_id, contents)
            row.analysis_key, row.findings = key, [finding.model_dump(mode="json") for finding in findings]
            row.created_by, row.created_at = principal, row.created_at or parts.database.now(session)
            session.add(row)
            return row.version
    except IntegrityError as error:
        raise ConflictError("Another import made a version at the same moment; this one is made again.") from error


def _material(session: Session, site: str, dataset_id: str, contents: Contents) -> _Material:
    shas = [source.sha256 for source in contents.sources]
    thumbs = repository.thumbs_of(session, site, shas)
    return _Material(
        contents,
        tuple(repository.phashes_of(session, site, shas)),
        load_facts(session, site, dataset_id, contents.manifest),
        tuple(Picture(source.pixels, thumb) for source, thumb in zip(contents.sources, thumbs, strict=True)),
    )


def _worked_out(material: _Material, check: Callable[[], None]) -> tuple[Analysis, tuple[Finding, ...]]:
    copies = clusters(material.pictures)
    check()
    contents = material.contents
    analysis = Analysis(
        clusters=copies.ids,
        phashes=material.phashes,
        pixels=tuple(source.pixels for source in contents.sources),
        group_keys=contents.group_keys,
        columns=contents.fold_columns(),
    )
    return analysis, describe(contents, copies, material.facts)


def _row(session: Session, site: str, dataset_id: str, contents: Contents) -> VersionRow:
    """The newest version's row when its manifest is the same, else a new one; the data set is locked."""
    dataset = session.get_one(DatasetRow, (site, dataset_id), with_for_update=True)
    dataset.classes = list(contents.classes)
    latest = repository.newest(session, site, dataset_id)
    if latest is not None and latest.manifest_hash == contents.manifest.hash:
        latest.contents_hash = contents.hash
        return latest
    groups = {sample.group for sample in contents.manifest.samples} - {None}
    return VersionRow(
        site=site,
        dataset_id=dataset_id,
        version=1 if latest is None else latest.version + 1,
        manifest_hash=contents.manifest.hash,
        contents_hash=contents.hash,
        classes=list(contents.manifest.classes),
        counts=list(contents.manifest.counts()),
        groups=len(groups) or None,
    )
