"""Locked test parts of a site: once locked by a job, an image is read by no later one, under whatever data set."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from aimic.domain.job import Status
from aimic.domain.split import LOCKED, SET_ASIDE, Split
from aimic.errors import ConflictError
from services.ingest.datasets.reading import VersionData
from services.ingest.datasets.repository import parts_of
from services.ingest.jobs.tables import JobRow, LockedRow
from services.ingest.models.tables import ModelVersionRow
from services.ingest.writing import serialised


@dataclass(frozen=True)
class Locks:
    """What earlier jobs locked of a version: its samples' indices by job, newest job first."""

    by_job: Mapping[str, frozenset[int]]
    share: float
    """The part that the newest of these jobs asked to lock."""

    @property
    def samples(self) -> frozenset[int]:
        """All of them."""
        return frozenset().union(*self.by_job.values())


def earlier(session: Session, site: str, data: VersionData) -> Locks:
    """What of this version is locked already: the images, copies of them, and others of the same patients.

    A job that ended without a model holds nothing back any more.
    """
    found = locked_by(session, site, data, range(len(data.manifest.samples)), groups=True)
    made = select(ModelVersionRow.job_id).where(ModelVersionRow.site == site, ModelVersionRow.job_id.is_not(None))
    counts = JobRow.status.not_in([Status.FAILED, Status.CANCELLED]) | JobRow.id.in_(made)
    query = select(JobRow).where(JobRow.site == site, JobRow.id.in_(list(found)), counts)
    rows = list(session.scalars(query.order_by(JobRow.created_at.desc(), JobRow.id.desc()))) if found else []
    share = float(rows[0].settings["split"]["lock_test"]) if rows else 0.0
    return Locks({row.id: frozenset(found[row.id]) for row in rows}, share)


def locked_by(
    session: Session, site: str, data: VersionData, indices: Collection[int], *, groups: bool = False
) -> dict[str, set[int]]:
    """Those of the samples that a job locked, or copies with the same pixels, by job; with `groups` also other
    images of the same patients."""
    if session.scalars(select(LockedRow.job_id).where(LockedRow.site == site).limit(1)).first() is None:
        return {}
    places: dict[str, list[int]] = {}
    for index in indices:
        group = data.group_keys[index] if groups else None
        for name in (data.manifest.samples[index].sha256, data.pixels[index], group):
            if name is not None:
                places.setdefault(name, []).append(index)
    found: dict[str, set[int]] = {}
    for job_id, names in _asked(session, site, list(places)):
        for name in names:
            found.setdefault(job_id, set()).update(places.get(name or "", ()))
    return {job_id: samples for job_id, samples in found.items() if samples}


def _asked(session: Session, site: str, names: Sequence[str]) -> Iterator[tuple[str, tuple[str | None, ...]]]:
    for part in parts_of(names):
        fits = or_(LockedRow.sha256.in_(part), LockedRow.pixel_sha256.in_(part), LockedRow.group_key.in_(part))
        rows = session.scalars(select(LockedRow).where(LockedRow.site == site, fits))
        yield from ((row.job_id, (row.sha256, row.pixel_sha256, row.group_key)) for row in rows)


def lockers(session: Session, site: str) -> frozenset[str]:
    """The jobs that have locked anything: when there are no others than before, nothing else is locked either."""
    locked = exists().where(LockedRow.site == site, LockedRow.job_id == JobRow.id)
    return frozenset(session.scalars(select(JobRow.id).where(JobRow.site == site, locked)))


def refuse_late(session: Session, site: str, data: VersionData, split: Split, known: frozenset[str]) -> None:
    """ConflictError when another job, started since this one was planned, locks what it would read.

    To the end of the unit of work no other job of the site gets past this.
    """
    serialised(session, "locks", site)
    if lockers(session, site) != known:
        refuse_reading(earlier(session, site, data), split)


def refuse_reading(locks: Locks, split: Split) -> None:
    """ConflictError when the split would have a job read what an earlier one locked."""
    read = {index for index, fold in enumerate(split.folds) if fold not in {LOCKED, SET_ASIDE}}
    for job_id, samples in locks.by_job.items():
        if seen := len(samples & read):
            raise ConflictError(
                f"Job {job_id} keeps {seen} of these images (or copies of them, or the same patients) locked away as "
                "its test part, and this job would read them, so that they could test nothing any more. Nothing was "
                f"started. Ask for a locked test part here too (--lock-test {locks.share:g}): the same images then "
                "stay locked.",
                job=job_id,
                images=seen,
            )


def rows_of(site: str, job_id: str, data: VersionData, split: Split) -> list[LockedRow]:
    """What a new job locks."""
    return [
        LockedRow(
            site=site,
            job_id=job_id,
            sha256=data.manifest.samples[index].sha256,
            pixel_sha256=data.pixels[index],
            group_key=data.group_keys[index],
        )
        for index, fold in enumerate(split.folds)
        if fold == LOCKED
    ]
