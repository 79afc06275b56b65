"""The invariants: nothing acknowledged is lost, nothing is done twice. Pure; each broken one is a sentence."""

from collections.abc import Iterator

from aimic.domain.job import Status
from tests.faults.evidence import Evidence, ImportFound, JobFound, ModelFound, TaskFound
from tests.faults.told import Brought, Sent, Told, Trained


def check(told: Told, found: Evidence) -> list[str]:
    """Every broken invariant."""
    return [*told.wrong, *_broken(told, found)]


def _broken(told: Told, found: Evidence) -> Iterator[str]:
    for sent in told.sent:
        yield from _upload(sent, found)
    for brought in told.brought:
        yield from _import(brought, found.imports.get(brought.id))
    for trained in told.trained:
        yield from _job(trained, found.jobs.get(trained.id))
    yield from (f"job {job} was started, and nobody asked for it twice" for job in found.strangers)
    yield from (f"object {key} is named by a row and isn't there" for key in found.missing)
    yield from (f"{work} was left with a lease, or waiting" for work in found.leases)
    if found.outbox:
        yield f"{found.outbox} messages were never published"
    yield from (f"dead letter: {letter}" for letter in found.dead)
    yield from (f"unreadable, and put aside by nobody: {letter}" for letter in found.vanished)


def _upload(sent: Sent, found: Evidence) -> Iterator[str]:
    row = found.uploads.get(sent.id)
    if row is None:
        used = found.imports.get(sent.imported_by or "")
        if used is None or used.status != "done":
            yield f"upload {sent.id} is gone, and no finished import has used it"
    elif row.offset < sent.acknowledged:
        yield f"upload {sent.id}: {sent.acknowledged} bytes were acknowledged, {row.offset} are recorded"
    elif row.data != sent.data[: row.offset]:
        yield f"upload {sent.id}: what is stored aren't the bytes that were sent"


def _import(brought: Brought, found: ImportFound | None) -> Iterator[str]:
    if found is None:
        yield f"import {brought.id} was accepted and is gone"
        return
    if found.status != "done":
        yield f"import {brought.id} ended as {found.status}"
    yield from (f"image {key} is away or damaged" for key in found.damaged)
    if lost := len(brought.pixels - found.pixels):
        yield f"import {brought.id}: {lost} of {len(brought.pixels)} images are not in {brought.dataset}"
    if strange := len(found.pixels - brought.pixels):
        yield f"import {brought.id}: {brought.dataset} holds {strange} images that nobody sent"


def _job(trained: Trained, job: JobFound | None) -> Iterator[str]:
    if job is None:
        yield f"job {trained.id} was accepted and is gone"
        return
    name = f"job {trained.id}"
    if job.status != Status.DONE or job.ends != (Status.DONE,):
        yield f"{name} should have ended once, as done; it is {job.status}, and its ends told are {list(job.ends)}"
    yield from _sequence(name, job)
    if {task.key for task in job.tasks} != job.plan or len(job.tasks) != len(job.plan):
        yield f"{name} has the tasks {sorted(task.key for task in job.tasks)}, not {sorted(job.plan)}"
    for task in job.tasks:
        yield from _task(f"{name}, {task.key}", task)
    yield from _models(name, trained, job)


def _sequence(name: str, job: JobFound) -> Iterator[str]:
    if list(job.sequences) != sorted(set(job.sequences)) or job.sequences[-1:] != (job.sequence,):
        yield f"{name}: progress numbers {job.sequences} don't go up to {job.sequence}, each once"
    if job.published != job.sequence:
        yield f"{name}: progress was told up to {job.published} of {job.sequence}"
    if job.heard is not None and job.heard != job.sequence:
        yield f"{name}: the event log told of progress up to {job.heard} of {job.sequence}"


def _task(name: str, task: TaskFound) -> Iterator[str]:
    if task.status != Status.DONE or task.done != 1:
        yield f"{name} should be done once; it is {task.status}, and that was told {task.done} times"
    if task.begun != task.fence:
        yield f"{name} was given out {task.fence} times and said to have begun {task.begun} times"
    if task.epochs_total is not None and task.epochs != tuple(range(1, task.epochs_total + 1)):
        yield f"{name}: of {task.epochs_total} epochs these were told: {list(task.epochs)}"


def _models(name: str, trained: Trained, job: JobFound) -> Iterator[str]:
    packages = sum(key.endswith("/package") for key in job.plan)
    if len(job.models) != packages:
        yield f"{name} should have made {packages} model versions, not {len(job.models)}"
    for model in job.models:
        yield from _model(name, trained, job, model)


def _model(name: str, trained: Trained, job: JobFound, model: ModelFound) -> Iterator[str]:
    if model.opened != model.hash:
        yield f"{name}: the bundle of {model.name} doesn't open as {model.hash[:12]}…: {model.opened}"
    if trained.bundle is not None and model.hash != trained.bundle:
        yield f"{name}: {model.name} is {model.hash[:12]}…, and undisturbed it is {trained.bundle[:12]}…"
    if model.pooled != job.judged:
        yield f"{name}: {model.pooled} images were counted in the folds, {job.judged} take part"
