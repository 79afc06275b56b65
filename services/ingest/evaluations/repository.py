"""The rows of evaluations."""

import json

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aimic.domain.split import LOCKED
from aimic.errors import NotFoundError
from services.ingest.evaluations.tables import EvaluationRow, OpeningRow
from services.ingest.jobs.tables import JobKind, JobRow, JobSplitRow


def find(session: Session, site: str, evaluation_id: str) -> tuple[EvaluationRow, JobRow]:
    """An evaluation and the job that does it; NotFoundError."""
    row = session.get(EvaluationRow, (site, evaluation_id))
    if row is None:
        raise NotFoundError(f"There is no evaluation {evaluation_id} at this site.")
    return row, session.get_one(JobRow, (site, evaluation_id))


def locked_parts(session: Session, site: str, manifest_hash: str) -> dict[str, frozenset[int]]:
    """Locked samples by training job, of the jobs on this manifest that locked some."""
    query = select(JobRow).where(
        JobRow.site == site, JobRow.manifest_hash == manifest_hash, JobRow.kind == JobKind.TRAIN
    )
    found: dict[str, frozenset[int]] = {}
    for job in session.scalars(query):
        if job.split.get("locked"):
            folds = json.loads(session.get_one(JobSplitRow, (site, job.id)).body)["folds"]
            found[job.id] = frozenset(index for index, fold in enumerate(folds) if fold == LOCKED)
    return found


def opening_of(session: Session, row: EvaluationRow) -> int | None:
    """Which opening of a job's locked test part this evaluation is, the highest count where it opened several."""
    mine = select(OpeningRow.job_id).where(OpeningRow.site == row.site, OpeningRow.evaluation_id == row.id)
    count = (
        select(func.count())
        .where(OpeningRow.site == row.site, OpeningRow.job_id.in_(mine), OpeningRow.created_at <= row.created_at)
        .group_by(OpeningRow.job_id)
    )
    return max(session.scalars(count), default=None)
