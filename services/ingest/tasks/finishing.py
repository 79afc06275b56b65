"""The end of a task: its result counts once, and what waited for it is released, in one transaction."""

from typing import Any

from aimic import faults
from aimic.domain.job import Status, TaskKind
from aimic.domain.work import BUNDLE_OBJECT, FinishReport
from aimic.errors import AimicError, InvalidInputError
from services.ingest.dependencies import Ingest
from services.ingest.evaluations.service import keep_result
from services.ingest.jobs import lifecycle
from services.ingest.models.bundles import StoredBundle, store
from services.ingest.models.service import Origin, register
from services.ingest.tasks import objects, repository
from services.ingest.tasks.holding import Held, holding, locked, look, same_fence
from services.ingest.tasks.tokens import TaskToken
from services.ingest.tasks.values import finite


def finish(parts: Ingest, token: TaskToken, report: FinishReport) -> None:
    """Take the result. The same report again (the first answer was lost) changes nothing."""
    same_fence(token, report.fence)
    report = report.model_copy(update={"result": finite(report.result)})
    if _was_taken(parts, token, report):
        return
    try:
        _take(parts, token, report)
    except AimicError:
        # Sent again while the first one was on its way through another replica: it was taken there.
        if not _was_taken(parts, token, report):
            raise


def _take(parts: Ingest, token: TaskToken, report: FinishReport) -> None:
    with parts.database.read(token.site) as session:
        task = look(session, token)
    objects.check(parts.blobs, token, task, report.objects)
    kind = TaskKind(task.kind)
    # Opening and checking a bundle takes seconds, so it comes before the lock.
    bundle = _bundle(parts, token, report) if kind is TaskKind.PACKAGE else None
    with holding(parts.database, token) as held:
        held.task.result, held.task.objects = report.result, report.objects
        _keep(held, bundle, report.result)
        lifecycle.drop_checkpoint(held.session, held.task, held.now)
        lifecycle.done(held.session, held.job, held.task, held.now)
        faults.point(f"ingest.finish.{kind}.before")
    faults.point(f"ingest.finish.{kind}.committed")


def _was_taken(parts: Ingest, token: TaskToken, report: FinishReport) -> bool:
    with locked(parts.database, token) as held:
        task = held.task
        done = task.status == Status.DONE and task.fence == token.fence
        return done and task.result == report.result and task.objects == report.objects


def _bundle(parts: Ingest, token: TaskToken, report: FinishReport) -> StoredBundle:
    key = report.objects.get(BUNDLE_OBJECT)
    if key is None:
        raise InvalidInputError(f"A package task leaves the exported bundle as the object {BUNDLE_OBJECT!r}.")
    return store(parts.blobs, token.site, parts.blobs.read(key), parts.settings.home / "scratch")


def _keep(held: Held, bundle: StoredBundle | None, result: dict[str, Any]) -> None:
    job, task = held.job, held.task
    if bundle is not None:
        origin = Origin(job.site, job.created_by, job.id, job.dataset, job.version)
        register(held.session, bundle, job.model_name(task.network), origin, held.now)
        # The registry has its own copy, by the bundle's hash; the names stay, to know a repeated report.
        repository.let_die(held.session, task.site, set(task.objects.values()), held.now)
    if task.kind == TaskKind.EVALUATE:
        keep_result(held.session, job.site, job.id, result)
