"""The rows of models."""

from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from aimic.domain.model import Stage
from aimic.errors import NotFoundError
from services.ingest.models.tables import ModelRow, ModelVersionRow
from services.ingest.writing import insert_new


def lock(session: Session, site: str, name: str) -> ModelRow | None:
    """The name's row under its lock, if there is one."""
    query = select(ModelRow).where(ModelRow.site == site, ModelRow.name == name).with_for_update(key_share=True)
    return session.scalar(query.execution_options(populate_existing=True))


def lock_new(session: Session, site: str, name: str, principal: str, now: datetime) -> ModelRow:
    """The name's row under its lock, made when missing."""
    row = lock(session, site, name)
    if row is None:
        made = {"site": site, "name": name, "versions": 0, "sequence": 0, "created_by": principal, "created_at": now}
        insert_new(session, ModelRow, [made])
        row = lock(session, site, name)
        assert row is not None
    return row


def version(session: Session, site: str, name: str, number: int) -> ModelVersionRow:
    """One version; NotFoundError."""
    row = session.get(ModelVersionRow, (site, name, number), populate_existing=True)
    if row is None:
        raise NotFoundError(f"There is no version {number} of a model {name!r} at this site.")
    return row


def serving(session: Session, site: str, name: str) -> ModelVersionRow:
    """The serving version of a name, else its newest; NotFoundError."""
    rows = of_name(session, site, name)
    if not rows:
        raise NotFoundError(f"There is no model {name!r} at this site.")
    return next((row for row in rows if row.stage == Stage.SERVING), rows[0])


def of_name(session: Session, site: str, name: str) -> list[ModelVersionRow]:
    """All versions of a name, newest first."""
    query = select(ModelVersionRow).where(ModelVersionRow.site == site, ModelVersionRow.name == name)
    return list(session.scalars(query.order_by(ModelVersionRow.version.desc())))


def newest(
    session: Session, site: str, name: str | None, limit: int, after: tuple[str | int, ...] | None
) -> list[ModelVersionRow]:
    """Versions, newest first, after (name, version); one more than `limit`."""
    query = select(ModelVersionRow).where(ModelVersionRow.site == site)
    if name is not None:
        query = query.where(ModelVersionRow.name == name)
    order = (ModelVersionRow.created_at, ModelVersionRow.name, ModelVersionRow.version)
    if after is not None:
        last = version(session, site, str(after[0]), int(after[1]))
        query = query.where(tuple_(*order) < (last.created_at, last.name, last.version))
    return list(session.scalars(query.order_by(*(column.desc() for column in order)).limit(limit + 1)))


def to_serve(session: Session, site: str | None) -> list[ModelVersionRow]:
    """Every version that isn't retired, of one site or (None) of all."""
    query = select(ModelVersionRow).where(ModelVersionRow.stage != Stage.RETIRED)
    if site is not None:
        query = query.where(ModelVersionRow.site == site)
    return list(session.scalars(query.order_by(ModelVersionRow.site, ModelVersionRow.name, ModelVersionRow.version)))


def of_jobs(session: Session, site: str, job_ids: list[str]) -> dict[str, list[str]]:
    """`name:version` of the models that each job made."""
    query = select(ModelVersionRow).where(ModelVersionRow.site == site, ModelVersionRow.job_id.in_(job_ids))
    made: dict[str, list[str]] = {job_id: [] for job_id in job_ids}
    for row in session.scalars(query.order_by(ModelVersionRow.created_at, ModelVersionRow.name)):
        made[str(row.job_id)].append(f"{row.name}:{row.version}")
    return made
