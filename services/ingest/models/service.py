"""The registry's decisions: numbering, stages, and telling inference."""

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from aimic.domain.model import ModelVersion, ServingEntry, Stage
from aimic.domain.site import PLATFORM_SITE, Principal
from aimic.errors import ConflictError, InvalidInputError
from aimic.events import ModelsChanged
from aimic.telemetry import traceparent
from services.ingest.audit.service import record
from services.ingest.dependencies import Ingest
from services.ingest.models import repository
from services.ingest.models.bundles import StoredBundle, store
from services.ingest.models.tables import ModelRow, ModelVersionRow
from services.ingest.outbox import post
from services.ingest.uploads import repository as uploads
from services.ingest.uploads.service import finished_row, open_upload

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Origin:
    """Where a version comes from."""

    site: str
    principal: str
    job_id: str | None = None
    dataset: str | None = None
    dataset_version: int | None = None


def check_name(name: str) -> str:
    """A name that can be a model's; InvalidInputError."""
    if not NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} can't be a model's name: use 1 to 63 letters, digits, '.', '_' and '-', a letter or digit first."
        )
    return name


def register(session: Session, bundle: StoredBundle, name: str, origin: Origin, now: datetime) -> ModelVersionRow:
    """The bundle as the name's next version. The first version of a name serves; later ones are candidates."""
    model = repository.lock_new(session, origin.site, name, origin.principal, now)
    model.versions += 1
    row = ModelVersionRow(
        site=origin.site,
        name=name,
        version=model.versions,
        bundle_hash=bundle.hash,
        bundle_key=bundle.key,
        size=bundle.size,
        network=bundle.info.network,
        classes=list(bundle.info.classes),
        stage=Stage.SERVING if model.versions == 1 else Stage.CANDIDATE,
        metrics=bundle.info.metrics,
        manifest_hash=bundle.info.manifest_hash,
        job_id=origin.job_id,
        dataset=origin.dataset,
        dataset_version=origin.dataset_version,
        created_by=origin.principal,
        created_at=now,
    )
    session.add(row)
    _changed(session, model, now)
    record(session, now, origin.site, origin.principal, "model.register", f"{name}:{row.version}")
    return row


def promote(session: Session, principal: Principal, name: str, number: int, now: datetime) -> ModelVersionRow:
    """Let this version serve; the one that served becomes a candidate."""
    model = repository.lock(session, principal.site, name)
    row = repository.version(session, principal.site, name, number)
    if row.stage == Stage.RETIRED:
        raise ConflictError(f"{name}:{number} is retired, so it can't serve. Import it again if it is wanted.")
    assert model is not None
    if row.stage != Stage.SERVING:
        for other in repository.of_name(session, principal.site, name):
            if other.stage == Stage.SERVING:
                other.stage = Stage.CANDIDATE
        row.stage = Stage.SERVING
        _changed(session, model, now)
    record(session, now, principal.site, principal.name, "model.promote", f"{name}:{number}")
    return row


def import_upload(parts: Ingest, principal: Principal, upload: str, name: str | None) -> StoredBundle:
    """Check and store the exported bundle in a finished upload."""
    if name is not None:
        check_name(name)
    with parts.database.begin(principal.site) as session:
        finished_row(session, parts, principal.site, upload)
        _, file = open_upload(session, parts.blobs, principal.site, upload)
    with file:
        pieces = iter(lambda: file.read(1 << 20), b"")
        return store(parts.blobs, principal.site, pieces, parts.settings.home / "scratch")


def register_import(
    session: Session, principal: Principal, bundle: StoredBundle, upload: str, name: str | None, now: datetime
) -> ModelVersionRow:
    """The imported bundle's version; importing the same bundle under the same name again gives the first."""
    name = name or default_name(bundle)
    used_up = uploads.find(session, principal.site, upload, lock=True)
    if used_up is not None:
        used_up.expires_at = now
    repository.lock_new(session, principal.site, name, principal.name, now)
    for known in repository.of_name(session, principal.site, name):
        if known.bundle_hash == bundle.hash:
            return known
    return register(session, bundle, name, Origin(principal.site, principal.name), now)


def default_name(bundle: StoredBundle) -> str:
    """`imported-<network>-<first digits of the hash>`: names of data sets aren't in a bundle."""
    return f"imported-{bundle.info.network}-{bundle.hash[:8]}"


def _changed(session: Session, model: ModelRow, now: datetime) -> None:
    model.sequence += 1
    where = traceparent.get()
    message = ModelsChanged(site=model.site, aggregate=model.name, sequence=model.sequence, traceparent=where)
    post(session, message, now)


def shown(row: ModelVersionRow) -> ModelVersion:
    """A version as it is told."""
    return ModelVersion(
        name=row.name,
        version=row.version,
        bundle_hash=row.bundle_hash,
        network=row.network,
        classes=tuple(row.classes),
        stage=Stage(row.stage),
        metrics=row.metrics,
        job_id=row.job_id,
        dataset=row.dataset,
        manifest_hash=row.manifest_hash,
        size=row.size,
        created_at=row.created_at,
    )


def serving_entries(session: Session, principal: Principal) -> list[ServingEntry]:
    """What inference should have loaded: for a site's own principal its own, for the platform's all."""
    site = None if principal.site == PLATFORM_SITE else principal.site
    return [
        ServingEntry(
            site=row.site,
            name=row.name,
            version=row.version,
            bundle_hash=row.bundle_hash,
            stage=Stage(row.stage),
            bundle_url=f"/api/v1/models/{row.name}/versions/{row.version}/bundle",
        )
        for row in repository.to_serve(session, site)
    ]
