"""From a wish to a plan: data, folds, warnings, weights, tasks. Nothing is written here; much is refused here."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy.orm import Session

from aimic.domain.dataset import Finding
from aimic.domain.folds import make_split, summary
from aimic.domain.job import JobRequest, TaskPlan, TrainSettings, plan_tasks
from aimic.domain.job import Status as State
from aimic.domain.site import Principal
from aimic.domain.split import Split, SplitSummary
from aimic.telemetry import traceparent
from services.ingest.datasets.reading import VersionData, fetch_version, load_version
from services.ingest.dependencies import Ingest
from services.ingest.jobs import defaults, weights
from services.ingest.jobs import locks as locking
from services.ingest.jobs.caution import warnings_for
from services.ingest.jobs.tables import JobKind, JobRow, JobSplitRow, model_name
from services.ingest.jobs.weights import JobWeights
from services.ingest.models.service import check_name
from services.ingest.tasks.tables import TaskEdgeRow, TaskRow


@dataclass(frozen=True)
class Plan:
    """Everything that a job will be, decided."""

    kind: JobKind
    data: VersionData
    model: str | None
    settings: TrainSettings
    serve: str
    split: Split
    summary: SplitSummary
    findings: tuple[Finding, ...]
    weights: JobWeights
    tasks: tuple[TaskPlan, ...]
    lockers: frozenset[str] = frozenset()
    """The jobs whose locked test parts were respected."""


def prepare(parts: Ingest, principal: Principal, request: JobRequest) -> Plan:
    """Decide everything about a training job; InvalidInputError or ConflictError says why it can't be done."""
    settings = defaults.fill(request.settings)
    _check_names(request, settings)
    fetch_version(parts.database, parts.blobs, principal.site, request.dataset, request.version)
    with parts.database.read(principal.site) as session:
        data = load_version(session, parts.blobs, principal.site, request.dataset, request.version)
        locks = locking.earlier(session, principal.site, data)
        lockers = locking.lockers(session, principal.site)
    split = _split(data, settings, locks.samples if settings.split.lock_test else ())
    locking.refuse_reading(locks, split)
    serve = defaults.serve(settings, split.k)
    settings = settings.model_copy(update={"serve": serve})
    resolved = weights.resolve(parts, principal, settings, data, split)
    return Plan(
        kind=JobKind.TRAIN,
        data=data,
        model=request.model,
        settings=settings,
        serve=serve,
        split=split,
        summary=summary(split, data.manifest),
        findings=warnings_for(data, split),
        weights=resolved,
        tasks=plan_tasks(settings, split.k, serve),
        lockers=lockers,
    )


def _check_names(request: JobRequest, settings: TrainSettings) -> None:
    """The names of the models to come, before days are spent on them."""
    for network in settings.networks:
        check_name(model_name(request.model, request.dataset, network, several=len(settings.networks) > 1))


def _split(data: VersionData, settings: TrainSettings, locked: Collection[int]) -> Split:
    samples = data.manifest.samples
    column = data.column(settings.split.column) if settings.split.column is not None else None
    return make_split(
        [sample.label for sample in samples],
        [sample.group for sample in samples],
        data.clusters,
        len(data.manifest.classes),
        settings.split,
        settings.seed,
        column,
        locked=locked,
        keys=[sample.sha256 for sample in samples],
        classes=data.manifest.classes,
    )


def write(session: Session, plan: Plan, principal: Principal, now: datetime) -> tuple[JobRow, list[TaskRow]]:
    """The job, its split and its tasks, as rows; tasks that wait for nothing are ready."""
    job = JobRow(
        site=principal.site,
        id=uuid4().hex,
        kind=plan.kind,
        dataset=plan.data.dataset,
        version=plan.data.version,
        manifest_hash=plan.data.manifest_hash,
        model=plan.model,
        settings=plan.settings.model_dump(mode="json"),
        serve=plan.serve,
        weights=plan.weights.model_dump(mode="json"),
        split=plan.summary.model_dump(mode="json"),
        findings=[finding.model_dump(mode="json") for finding in plan.findings],
        priority=0,
        status=State.READY,
        cancel=False,
        sequence=0,
        published=0,
        traceparent=traceparent.get() or None,
        created_by=principal.name,
        created_at=now,
    )
    session.add(job)
    session.flush()
    session.add(JobSplitRow(site=job.site, job_id=job.id, body=plan.split.model_dump_json()))
    session.add_all(locking.rows_of(job.site, job.id, plan.data, plan.split))
    tasks = {task.key: _task(job, number, task) for number, task in enumerate(plan.tasks)}
    session.add_all(tasks.values())
    session.flush()
    for task in plan.tasks:
        for key in task.after:
            session.add(TaskEdgeRow(site=job.site, task_id=tasks[task.key].id, after_id=tasks[key].id))
    return job, list(tasks.values())


def _task(job: JobRow, ordinal: int, plan: TaskPlan) -> TaskRow:
    return TaskRow(
        site=job.site,
        id=uuid4().hex,
        job_id=job.id,
        ordinal=ordinal,
        key=plan.key,
        kind=plan.kind,
        network=plan.network,
        fold=plan.fold,
        status=State.WAITING if plan.after else State.READY,
        attempt=0,
        fence=0,
        checkpoint={},
        result={},
        objects={},
        epochs_done=0,
    )
