"""Making a data set's next version: gather, find copies, describe, and write it once."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from aimic import faults
from aimic.domain.dataset import Finding
from aimic.errors import ConflictError, InvalidInputError
from aimic.imaging.near import Clusters, clusters
from services.ingest.audit.service import record
from services.ingest.datasets import repository
from services.ingest.datasets.contents import Contents, gather
from services.ingest.datasets.describing import describe
from services.ingest.datasets.facts import load_facts
from services.ingest.datasets.pictures import spilled
from services.ingest.datasets.reading import Analysis, manifest_key, store_analysis
from services.ingest.datasets.tables import DatasetRow, VersionRow
from services.ingest.dependencies import Ingest


def make_version(
    parts: Ingest,
    site: str,
    dataset_id: str,
    principal: str,
    check: Callable[[], None],
    lock: Callable[[Session], None],
) -> int:
    """The number of the version that holds what the data set has now; the newest one's when nothing changed.

    `check` is called between the long steps and may raise to stop; `lock` first thing in the unit of work that writes,
    and raises when another has the work now. InvalidInputError when every picture is set aside.
    """
    with parts.database.read(site) as session:
        contents = gather(session, session.get_one(DatasetRow, (site, dataset_id)))
        latest = repository.newest(session, site, dataset_id)
    if latest is not None and latest.contents_hash == contents.hash:
        return latest.version
    if not contents.manifest.samples:
        raise InvalidInputError(
            "Every picture stands under two labels, so there is nothing to make a version of. "
            "Decide which label is right and import again with that one alone."
        )
    check()
    copies = _copies(parts, site, contents)
    check()
    key, findings = _worked_out(parts, site, dataset_id, contents, copies)
    check()
    try:
        with parts.database.begin(site) as session:
            lock(session)
            row = _row(parts, session, dataset_id, contents, principal)
            row.analysis_key, row.findings = key, [finding.model_dump(mode="json") for finding in findings]
            session.add(row)
            faults.point("ingest.version.before")
    except IntegrityError as error:
        raise ConflictError("Another import made a version at the same moment; this one is made again.") from error
    faults.point("ingest.version.committed")
    return row.version


def _copies(parts: Ingest, site: str, contents: Contents) -> Clusters:
    shas = [source.sha256 for source in contents.sources]
    pixels = [source.pixels for source in contents.sources]
    with ExitStack() as stack:
        with parts.database.read(site) as session:
            pictures = stack.enter_context(spilled(pixels, repository.thumbs_of(session, site, shas)))
        copies = clusters(pictures)  # takes minutes for very many, during which no transaction is open
    return replace(copies, ids=contents.held_together(copies.ids))


def _worked_out(
    parts: Ingest, site: str, dataset_id: str, contents: Contents, copies: Clusters
) -> tuple[str, tuple[Finding, ...]]:
    """Store manifest and analysis; the analysis' key, and the findings."""
    manifest = contents.manifest
    with parts.database.read(site) as session:
        phashes = tuple(repository.phashes_of(session, site, [sample.sha256 for sample in manifest.samples]))
        facts = load_facts(session, site, dataset_id, manifest)
    analysis = Analysis(
        clusters=copies.ids,
        phashes=phashes,
        pixels=tuple(source.pixels for source in contents.sources),
        group_keys=contents.group_keys,
        columns=contents.fold_columns(),
    )
    parts.blobs.put(manifest_key(site, manifest.hash), b"".join(manifest.canonical()))
    return store_analysis(parts.blobs, site, analysis), describe(contents, copies, facts)


def _row(parts: Ingest, session: Session, dataset_id: str, contents: Contents, principal: str) -> VersionRow:
    """The newest version's row when its manifest is the same, else a new one; the data set is locked."""
    site = session.info["site"]
    dataset = session.get_one(DatasetRow, (site, dataset_id), with_for_update={"key_share": True})
    dataset.classes = list(contents.classes)
    latest = repository.newest(session, site, dataset_id)
    if latest is not None and latest.manifest_hash == contents.manifest.hash:
        latest.contents_hash = contents.hash
        return latest
    now = parts.database.now(session)
    groups = {sample.group for sample in contents.manifest.samples} - {None}
    row = VersionRow(
        site=site,
        dataset_id=dataset_id,
        version=1 if latest is None else latest.version + 1,
        manifest_hash=contents.manifest.hash,
        contents_hash=contents.hash,
        classes=list(contents.manifest.classes),
        counts=list(contents.manifest.counts()),
        groups=len(groups) or None,
        created_by=principal,
        created_at=now,
    )
    record(session, now, site, principal, "dataset.version", dataset.name, version=row.version)
    return row
