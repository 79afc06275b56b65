"""What a claim says: everything that the task needs, and nothing that it may not read."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from aimic.domain.dataset import Manifest, Sample
from aimic.domain.job import TaskKind, TrainSettings
from aimic.domain.networks import NETWORKS
from aimic.domain.split import LOCKED, SET_ASIDE, Split
from aimic.domain.work import (
    CheckpointRef,
    Claim,
    EvaluateSpec,
    TaskInput,
    TaskSample,
    TaskSpec,
    WeightsSource,
)
from services.ingest.datasets.reading import Analysis, find_version, load_analysis, load_manifest, object_keys
from services.ingest.dependencies import Ingest
from services.ingest.evaluations.tables import EvaluationRow
from services.ingest.jobs import repository as jobs
from services.ingest.jobs.tables import JobRow
from services.ingest.jobs.weights import JobWeights
from services.ingest.models.tables import ModelVersionRow
from services.ingest.tasks import repository
from services.ingest.tasks.holding import look
from services.ingest.tasks.tables import TaskRow
from services.ingest.tasks.tokens import TaskToken


@dataclass(frozen=True)
class _Scene:
    """A task with all that surrounds it."""

    parts: Ingest
    session: Session
    job: JobRow
    task: TaskRow
    manifest: Manifest
    analysis: Analysis | None
    """Only where the task's kind is in _ANALYSED, and a claim is described."""
    split: Split

    def url(self, key: str) -> str:
        return self.parts.blobs.url_to_get(key, self.parts.settings.ingest_url_ttl_s)

    def urls(self, objects: dict[str, str]) -> dict[str, str]:
        return {name: self.url(key) for name, key in objects.items()}


_BY_CLUSTER = (TaskKind.JUDGE, TaskKind.EVALUATE)
"""What judges, and so counts patients and not pictures."""
_ANALYSED = (*_BY_CLUSTER, TaskKind.PACKAGE)
"""What says anything of a version's analysis, which is as large as its manifest."""


def fetch(parts: Ingest, site: str, task_id: str, *, claim: bool = True) -> tuple[Manifest, Analysis | None]:
    """What the claim of a task rests on, or only its samples; a slow store holds up no unit of work.

    From the store or from memory; None for an analysis that isn't needed.
    """
    with parts.database.read(site) as session:
        task = repository.find(session, site, task_id)
        job = jobs.find(session, site, task.job_id)
        version = find_version(session, site, job.dataset, job.version)
    manifest = load_manifest(parts.blobs, site, version.manifest_hash)
    analysed = claim and task.kind in _ANALYSED
    return manifest, load_analysis(parts.blobs, version.analysis_key) if analysed else None


@contextlib.contextmanager
def _scene(parts: Ingest, token: TaskToken, *, claim: bool) -> Iterator[_Scene]:
    manifest, analysis = fetch(parts, token.site, token.task, claim=claim)
    with parts.database.read(token.site) as session:
        task = look(session, token)
        job = jobs.find(session, token.site, task.job_id)
        yield _Scene(parts, session, job, task, manifest, analysis, jobs.split_of(session, token.site, job.id))


def claim_of(parts: Ingest, token: TaskToken, text: str) -> Claim:
    """The claim that this token stands for."""
    with _scene(parts, token, claim=True) as scene:
        job, task = scene.job, scene.task
        return Claim(
            task=TaskSpec(id=task.id, key=task.key, kind=TaskKind(task.kind), network=task.network, fold=task.fold),
            site=task.site,
            job_id=job.id,
            token=text,
            fence=token.fence,
            lease_s=parts.settings.lease_s,
            settings=_settings(job, task),
            serve=job.serve,
            split=scene.split,
            manifest_hash=job.manifest_hash,
            classes=scene.manifest.classes,
            clusters=scene.analysis.clusters if scene.analysis and task.kind in _BY_CLUSTER else (),
            phashes=scene.analysis.phashes if scene.analysis and task.kind == TaskKind.PACKAGE else (),
            inputs=_inputs(scene),
            checkpoint=_checkpoint(scene),
            weights=_weights(scene),
            evaluate=_evaluate(scene) if task.kind == TaskKind.EVALUATE else None,
            traceparent=job.traceparent or "",
        )


def _settings(job: JobRow, task: TaskRow) -> TrainSettings:
    """The job's settings narrowed to this network, so that what else was asked for changes nothing."""
    settings = TrainSettings.model_validate(job.settings)
    size = settings.image_size or NETWORKS[task.network].image_size
    return settings.model_copy(update={"networks": (task.network,), "image_size": size})


def _inputs(scene: _Scene) -> dict[str, TaskInput]:
    before = repository.predecessors(scene.session, scene.task)
    return {task.key: TaskInput(result=task.result, objects=scene.urls(task.objects)) for task in before}


def _checkpoint(scene: _Scene) -> CheckpointRef | None:
    step = scene.task.checkpoint_step
    if step is None or not scene.task.checkpoint:
        return None
    return CheckpointRef(step=step, objects=scene.urls(scene.task.checkpoint))


def _weights(scene: _Scene) -> WeightsSource:
    weights = JobWeights.model_validate(scene.job.weights)
    url = scene.url(weights.key) if weights.key else None
    return WeightsSource(kind=weights.kind, url=url, sha256=weights.sha256, name=weights.name)


def _evaluate(scene: _Scene) -> EvaluateSpec:
    row = scene.session.get_one(EvaluationRow, (scene.job.site, scene.job.id))
    model = scene.session.get_one(ModelVersionRow, (row.site, row.model, row.model_version))
    return EvaluateSpec.model_validate(
        {"bundle_url": scene.url(model.bundle_key), "indices": row.indices, "left_out": row.left_out}
    )


_CLOSED = frozenset({LOCKED, SET_ASIDE})


@dataclass(frozen=True)
class SampleList:
    """A task's samples, in manifest order; built part by part, since there can be very many."""

    samples: Sequence[Sample]
    keys: Sequence[str]
    """Where each image lies."""
    folds: Sequence[int]
    """The task gets no address of what is in _CLOSED ones."""
    url: Callable[[str], str]

    def part(self, after: int, limit: int) -> tuple[list[TaskSample], int | None]:
        """Samples with an index above `after`, at most `limit`, and the `after` of the rest."""
        first, end = after + 1, min(after + 1 + limit, len(self.samples))
        items = [self._item(index) for index in range(first, end)]
        return items, (end - 1 if end < len(self.samples) else None)

    def _item(self, index: int) -> TaskSample:
        sample = self.samples[index]
        url = None if self.folds[index] in _CLOSED else self.url(self.keys[index])
        return TaskSample(
            index=index, sha256=sample.sha256, label=sample.label, group=sample.group, url=url, size=sample.size
        )


def samples_of(parts: Ingest, token: TaskToken) -> SampleList:
    """What the task may not read has no address: the locked test part, what is set aside, what isn't judged."""
    with _scene(parts, token, claim=False) as scene:
        samples = scene.manifest.samples
        keys = object_keys(scene.session, token.site, [sample.sha256 for sample in samples])
    return SampleList(samples, keys, scene.split.folds, scene.url)
