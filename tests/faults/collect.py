"""Reads records and objects directly, past every service, and says what is there."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import Engine, or_, select
from sqlalchemy.orm import Session

from aimic.domain.job import ProgressKind, Status, TaskKind, TrainSettings, plan_tasks
from aimic.domain.split import Split
from aimic.domain.work import WEIGHTS_OBJECT
from aimic.errors import AimicError, UnavailableError
from aimic.nets import bundle
from aimic.ports.blobs import Blobs
from services.ingest.database import database_clock
from services.ingest.datasets.reading import load_manifest, manifest_key, object_keys
from services.ingest.datasets.tables import ItemRow, VersionRow
from services.ingest.imports.tables import ImportRow
from services.ingest.jobs.tables import JobKind, JobRow, JobSplitRow, ProgressRow
from services.ingest.models.tables import ModelVersionRow
from services.ingest.outbox import OutboxRow
from services.ingest.tasks.tables import TaskRow
from services.ingest.uploads.tables import PieceRow, UploadRow
from tests.faults.evidence import Evidence, ImportFound, JobFound, ModelFound, TaskFound, UploadFound
from tests.faults.ground import Letters
from tests.faults.pictures import pixels_of
from tests.faults.told import Told
from tests.patience import patiently

SITE = "local"
_OPEN = (Status.WAITING, Status.READY, Status.RUNNING)


class Collector:
    """Everything about one history: what it was told of, and what bears its name."""

    def __init__(self, engine: Engine, blobs: Blobs) -> None:
        self._engine, self._blobs = engine, blobs

    def collect(self, told: Told, name: str, heard: Mapping[str, int] | None, letters: Letters) -> Evidence:
        """The evidence. `heard`: the highest sequence told of each job by the event log, unless that was emptied."""
        with Session(self._engine) as session:
            jobs = session.scalars(select(JobRow).where(JobRow.dataset.startswith(f"{name}-"))).all()
            return Evidence(
                uploads={sent.id: found for sent in told.sent if (found := self._upload(session, sent.id))},
                imports={one.id: brought for one in told.brought if (brought := self._import(session, one.id))},
                jobs={job.id: self._job(session, job, heard) for job in jobs},
                strangers=tuple({job.id for job in jobs} - {trained.id for trained in told.trained}),
                missing=tuple(key for key in self._named(session) if not self._exists(key)),
                leases=tuple(unfinished(session)),
                outbox=len(session.scalars(select(OutboxRow)).all()),
                dead=letters.strange,
                vanished=letters.lacking,
            )

    def _upload(self, session: Session, upload_id: str) -> UploadFound | None:
        row = session.get(UploadRow, (SITE, upload_id))
        if row is None or upload_id in expired(session):
            return None
        pieces = session.scalars(select(PieceRow).where(PieceRow.upload_id == upload_id).order_by(PieceRow.number))
        try:
            return UploadFound(row.offset, b"".join(self._get(piece.key) for piece in pieces))
        except AimicError:
            return UploadFound(row.offset, None)

    def _import(self, session: Session, import_id: str) -> ImportFound | None:
        row = session.get(ImportRow, (SITE, import_id))
        if row is None:
            return None
        shas = session.scalars(select(ItemRow.sha256).where(ItemRow.dataset_id == row.dataset_id).distinct()).all()
        keys = object_keys(session, SITE, list(shas))
        pixels, damaged = set(), []
        for sha, key in zip(shas, keys, strict=True):
            try:
                data = self._get(key)
            except AimicError as error:
                damaged.append(f"{key} ({error.message})")
                continue
            if hashlib.sha256(data).hexdigest() == sha:
                pixels.add(pixels_of(data))
            else:
                damaged.append(key)
        damaged += self._not_in_manifest(session, row, set(shas))
        return ImportFound(row.status, frozenset(pixels), tuple(damaged))

    def _not_in_manifest(self, session: Session, row: ImportRow, shas: set[str]) -> list[str]:
        version = session.get(VersionRow, (SITE, row.dataset_id, row.version)) if row.version else None
        if version is None:
            return []
        manifest = load_manifest(self._blobs, SITE, version.manifest_hash)
        return [f"{sha} (not in version {row.version})" for sha in shas - {one.sha256 for one in manifest.samples}]

    def _job(self, session: Session, job: JobRow, heard: Mapping[str, int] | None) -> JobFound:
        split = Split.model_validate_json(session.get_one(JobSplitRow, (SITE, job.id)).body)
        settings = TrainSettings.model_validate(job.settings)
        events = session.scalars(
            select(ProgressRow).where(ProgressRow.job_id == job.id).order_by(ProgressRow.sequence)
        ).all()
        tasks = session.scalars(select(TaskRow).where(TaskRow.job_id == job.id).order_by(TaskRow.ordinal)).all()
        trains = job.kind == JobKind.TRAIN
        plan = {one.key for one in plan_tasks(settings, split.k, job.serve)} if trains else {_evaluation(settings)}
        models = session.scalars(select(ModelVersionRow).where(ModelVersionRow.job_id == job.id)).all()
        return JobFound(
            status=job.status,
            ends=tuple(said for said in _statuses(events, None) if Status(said).over),
            sequence=job.sequence,
            published=job.published,
            sequences=tuple(event.sequence for event in events),
            heard=None if heard is None else heard.get(job.id, 0),
            plan=frozenset(plan),
            tasks=tuple(_task(task, events) for task in tasks),
            judged=sum(fold >= 0 for fold in split.folds),
            models=tuple(self._model(row) for row in models),
        )

    def _model(self, row: ModelVersionRow) -> ModelFound:
        pooled = row.metrics.get("pooled", {}).get("n")
        with tempfile.TemporaryDirectory() as scratch:
            file, directory = Path(scratch) / "file", Path(scratch) / "bundle"
            try:
                file.write_bytes(self._get(row.bundle_key))
                bundle.unpack(file, directory, row.bundle_hash)
                opened = bundle.inspect(directory, row.bundle_hash).hash
            except AimicError as error:
                opened = error.message
        return ModelFound(f"{row.name}:{row.version}", row.bundle_hash, opened, pooled)

    def _get(self, key: str) -> bytes:
        """All bytes. A store that doesn't answer for a moment has lost nothing."""
        return patiently(lambda: self._blobs.get(key), UnavailableError)

    def _exists(self, key: str) -> bool:
        return patiently(lambda: self._blobs.exists(key), UnavailableError)

    def _named(self, session: Session) -> Iterator[str]:
        """Every object that a row says is there."""
        yield from session.scalars(select(PieceRow.key).where(PieceRow.upload_id.not_in(expired(session))))
        yield from session.scalars(select(VersionRow.analysis_key))
        yield from (manifest_key(SITE, found) for found in session.scalars(select(VersionRow.manifest_hash)))
        yield from session.scalars(select(ModelVersionRow.bundle_key).distinct())
        # A package's file is the registry's, and weights go with the end of their job.
        for task in session.scalars(select(TaskRow).where(TaskRow.kind != TaskKind.PACKAGE)):
            yield from task.checkpoint.values()
            yield from (key for name, key in task.objects.items() if name != WEIGHTS_OBJECT)


def expired(session: Session) -> list[str]:
    """Uploads that have ended for everybody: their bytes go first, and the rows once the records are there again."""
    over = UploadRow.used_by.is_(None), UploadRow.expires_at <= database_clock(session)
    return list(session.scalars(select(UploadRow.id).where(*over)))


def unfinished(session: Session) -> Iterator[str]:
    """Tasks and imports that somebody holds or should take, and uploads that an import holds."""
    open_task = or_(TaskRow.status.in_(_OPEN), TaskRow.lease_until.is_not(None))
    yield from (f"task {task.key} of job {task.job_id}" for task in session.scalars(select(TaskRow).where(open_task)))
    open_import = or_(ImportRow.status.in_(_OPEN), ImportRow.lease_until.is_not(None))
    yield from (
        f"import {row.id} ({row.phase}: {row.error})" for row in session.scalars(select(ImportRow).where(open_import))
    )
    held = select(UploadRow.id).where(UploadRow.used_by.is_not(None))
    yield from (f"upload {upload}" for upload in session.scalars(held))


def _evaluation(settings: TrainSettings) -> str:
    return f"{settings.networks[0]}/{TaskKind.EVALUATE}"


def _statuses(events: Sequence[ProgressRow], task_id: str | None) -> list[str]:
    mine = (event for event in events if event.kind == ProgressKind.STATUS and event.task_id == task_id)
    return [str(event.data["status"]) for event in mine]


def _task(task: TaskRow, events: Sequence[ProgressRow]) -> TaskFound:
    said = _statuses(events, task.id)
    epochs = [event.epoch for event in events if event.kind == ProgressKind.EPOCH and event.task_id == task.id]
    fitted = task.kind in {TaskKind.FOLD, TaskKind.REFIT}
    return TaskFound(
        key=task.key,
        status=task.status,
        fence=task.fence,
        begun=said.count(Status.RUNNING),
        done=said.count(Status.DONE),
        epochs=tuple(epoch for epoch in epochs if epoch is not None),
        epochs_total=task.epochs_total if fitted else None,
    )
