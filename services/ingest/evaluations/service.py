"""Evaluations: what the model could know is left out, a trainer judges the rest, openings are counted."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from aimic.domain.dataset import Refusal
from aimic.domain.folds import summary
from aimic.domain.job import Status, TaskKind, TaskPlan, TrainSettings
from aimic.domain.model import Evaluation
from aimic.domain.site import Principal
from aimic.domain.split import SET_ASIDE, Split, SplitRequest
from aimic.errors import InvalidInputError
from aimic.nets.bundle import BundleInfo
from aimic.settings import available_cpus
from services.ingest.audit.service import record
from services.ingest.datasets import repository as datasets
from services.ingest.datasets.reading import VersionData, fetch_version, find_version, load_version
from services.ingest.dependencies import Ingest
from services.ingest.evaluations import repository
from services.ingest.evaluations.knowledge import known, lineage, refusal
from services.ingest.evaluations.schemas import EvaluationRequest
from services.ingest.evaluations.tables import EvaluationRow, OpeningRow
from services.ingest.jobs import lifecycle, planning
from services.ingest.jobs.journal import tell_status
from services.ingest.jobs.locks import locked_by
from services.ingest.jobs.tables import JobKind, JobRow
from services.ingest.jobs.weights import JobWeights
from services.ingest.models import repository as models
from services.ingest.models.tables import ModelVersionRow
from services.ingest.writing import serialised

BATCH = 32


@dataclass(frozen=True)
class Choice:
    """What will be judged and what is left out."""

    model: ModelVersionRow
    plan: planning.Plan
    indices: tuple[int, ...]
    left_out: tuple[Refusal, ...]


def choose(parts: Ingest, principal: Principal, name: str, number: int, request: EvaluationRequest) -> Choice:
    """Every image that the model could not know, of classes that it knows; InvalidInputError when none is left."""
    fetch_version(parts.database, parts.blobs, principal.site, request.dataset, request.version)
    with parts.database.read(principal.site) as session:
        model = models.version(session, principal.site, name, number)
        data = load_version(session, parts.blobs, principal.site, request.dataset, request.version)
        infos = lineage(parts, session, model)
        codes = _unknown_classes(infos[0], data)
        candidates = [index for index in range(len(data.manifest.samples)) if index not in codes]
        codes |= known(parts, session, infos, data, candidates)
    indices = tuple(index for index in candidates if index not in codes)
    if not indices:
        raise InvalidInputError(
            f"{name}:{number} was trained on every image of {data.dataset} that it could be judged on (or on copies "
            "or other images of the same patients), so nothing is left to judge it by. "
            "Choose a data set that is new to it."
        )
    left_out = tuple(refusal(data.manifest.samples[index].sha256, codes[index]) for index in sorted(codes))
    return Choice(model, _plan(data, infos[0], indices), indices, left_out)


def _unknown_classes(info: BundleInfo, data: VersionData) -> dict[int, str]:
    strange = {label for label, name in enumerate(data.manifest.classes) if name not in info.classes}
    samples = enumerate(data.manifest.samples)
    return {index: "unknown_class" for index, sample in samples if sample.label in strange}


def _plan(data: VersionData, info: BundleInfo, indices: tuple[int, ...]) -> planning.Plan:
    judged = set(indices)
    folds = tuple(0 if index in judged else SET_ASIDE for index in range(len(data.manifest.samples)))
    classes = tuple(label for label, name in enumerate(data.manifest.classes) if name in info.classes)
    split = Split(request=SplitRequest(kind="holdout"), seed=0, k=1, folds=folds, inner=((),), classes=classes)
    settings = TrainSettings(
        networks=(info.network,),
        batch_size=BATCH,
        threads=available_cpus(),
    )
    task = TaskPlan(key=f"{info.network}/evaluate", kind=TaskKind.EVALUATE, network=info.network)
    return planning.Plan(
        kind=JobKind.EVALUATE,
        data=data,
        model=None,
        settings=settings,
        serve="fold:0",
        split=split,
        summary=summary(split, data.manifest),
        findings=(),
        weights=JobWeights(kind="none", name="the model's own"),
        tasks=(task,),
    )


def start(parts: Ingest, session: Session, principal: Principal, choice: Choice) -> Evaluation:
    """The evaluation, its task and its opening of locked parts, in the caller's one transaction."""
    # Openings of locked parts are counted by their time, so they come one after the other.
    serialised(session, "openings", principal.site)
    now = parts.database.now(session)
    job, tasks = planning.write(session, choice.plan, principal, now)
    row = EvaluationRow(
        site=job.site,
        id=job.id,
        model=choice.model.name,
        model_version=choice.model.version,
        indices=list(choice.indices),
        left_out=[refused.model_dump(mode="json") for refused in choice.left_out],
        judged=0,
        created_by=principal.name,
        created_at=now,
    )
    session.add(row)
    session.flush()
    _open(session, row, choice)
    tell_status(session, job, now, Status.READY, "The evaluation waits for a worker.")
    for task in tasks:
        lifecycle.wake(session, task, now)
    subject = f"{row.model}:{row.model_version}"
    record(session, now, job.site, principal.name, "model.evaluate", subject, evaluation=row.id, dataset=job.dataset)
    return shown(session, row, job)


def _open(session: Session, row: EvaluationRow, choice: Choice) -> None:
    """Note every training job whose locked test part this evaluation looks at, under whatever data set."""
    for job_id, opened in locked_by(session, row.site, choice.plan.data, choice.indices).items():
        session.add(
            OpeningRow(
                site=row.site,
                evaluation_id=row.id,
                job_id=job_id,
                images=len(opened),
                created_by=row.created_by,
                created_at=row.created_at,
            )
        )
    session.flush()


def show(parts: Ingest, principal: Principal, evaluation_id: str) -> Evaluation:
    """An evaluation as it is now."""
    with parts.database.read(principal.site) as session:
        row, job = repository.find(session, principal.site, evaluation_id)
        return shown(session, row, job)


def shown(session: Session, row: EvaluationRow, job: JobRow) -> Evaluation:
    """The owner's view: left-out images under their file names."""
    left_out = [Refusal.model_validate(item) for item in row.left_out]
    dataset_id = find_version(session, row.site, job.dataset, job.version).dataset_id
    names = datasets.file_names(session, row.site, dataset_id, [item.name for item in left_out])
    named = (item.model_copy(update={"name": ", ".join(names.get(item.name, [item.name]))}) for item in left_out)
    return Evaluation(
        id=row.id,
        model=row.model,
        version=row.model_version,
        dataset=job.dataset,
        dataset_version=job.version,
        status=job.status,
        judged=row.judged,
        left_out=tuple(named),
        opening=repository.opening_of(session, row),
        metrics=row.metrics,
        error=job.error,
        created_at=row.created_at,
    )


def keep_result(session: Session, site: str, evaluation_id: str, result: dict[str, Any]) -> None:
    """What the trainer found: `metrics`, and the number of images `judged`."""
    row = session.get_one(EvaluationRow, (site, evaluation_id))
    metrics, judged = result.get("metrics"), result.get("judged", len(row.indices))
    if not isinstance(metrics, dict) or not isinstance(judged, int):
        raise InvalidInputError("An evaluation's result has `metrics` and the number of images `judged`.")
    row.metrics, row.judged = metrics, judged
