"""With what each bundle runs on each class of machines: the first that measured it decides for all of them."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from aimic.domain.executor import ExecutorChoice
from aimic.domain.site import Principal
from aimic.errors import InvalidInputError, NotFoundError
from services.ingest.audit.service import record
from services.ingest.models import repository
from services.ingest.models.tables import ExecutorRow
from services.ingest.writing import insert_new


@dataclass(frozen=True)
class Place:
    """What a choice is for."""

    name: str
    version: int
    machine_class: str


def chosen(session: Session, site: str, name: str, version: int, machine_class: str) -> ExecutorChoice:
    """The choice that holds; NotFoundError when such a machine has told none."""
    bundle_hash = repository.version(session, site, name, version).bundle_hash
    found = _find(session, site, bundle_hash, machine_class)
    if found is None:
        raise NotFoundError(f"No machine of the class {machine_class!r} has chosen how to run {name}:{version}.")
    return found


def choose(
    session: Session, principal: Principal, place: Place, choice: ExecutorChoice, now: datetime
) -> ExecutorChoice:
    """Keep the choice unless there is one; the one that holds. InvalidInputError for another bundle's or class's."""
    bundle_hash = repository.version(session, principal.site, place.name, place.version).bundle_hash
    if (choice.bundle_hash, choice.machine_class) != (bundle_hash, place.machine_class):
        raise InvalidInputError(
            f"This choice is of another bundle or class of machines than {place.name}:{place.version} on "
            f"{place.machine_class}. Nothing was kept."
        )
    known = _find(session, principal.site, bundle_hash, place.machine_class)
    if known is not None:
        return known
    row = {
        "site": principal.site,
        "bundle_hash": bundle_hash,
        "machine_class": place.machine_class,
        "executor": choice.executor,
        "choice": choice.model_dump(mode="json"),
        "created_by": principal.name,
        "created_at": now,
    }
    insert_new(session, ExecutorRow, [row])
    held = _find(session, principal.site, bundle_hash, place.machine_class)
    assert held is not None
    if held == choice:  # another replica may have been a moment earlier: then there is nothing of ours to tell
        subject = f"{place.name}:{place.version}"
        record(session, now, principal.site, principal.name, "model.executor", subject, executor=choice.executor)
    return held


def _find(session: Session, site: str, bundle_hash: str, machine_class: str) -> ExecutorChoice | None:
    row = session.get(ExecutorRow, (site, bundle_hash, machine_class), populate_existing=True)
    return None if row is None else ExecutorChoice.model_validate(row.choice)
