"""The rows of evaluations."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aimic.errors import NotFoundError
from services.ingest.evaluations.tables import EvaluationRow, OpeningRow
from services.ingest.jobs.tables import JobRow


def find(session: Session, site: str, evaluation_id: str) -> tuple[EvaluationRow, JobRow]:
    """An evaluation and the job that does it; NotFoundError."""
    row = session.get(EvaluationRow, (site, evaluation_id))
    if row is None:
        raise NotFoundError(f"There is no evaluation {evaluation_id} at this site.")
    return row, session.get_one(JobRow, (site, evaluation_id))


def opening_of(session: Session, row: EvaluationRow) -> int | None:
    """Which opening of a job's locked test part this evaluation is, the highest count where it opened several."""
    mine = select(OpeningRow.job_id).where(OpeningRow.site == row.site, OpeningRow.evaluation_id == row.id)
    count = (
        select(func.count())
        .where(OpeningRow.site == row.site, OpeningRow.job_id.in_(mine), OpeningRow.created_at <= row.created_at)
        .group_by(OpeningRow.job_id)
    )
    return max(session.scalars(count), default=None)
