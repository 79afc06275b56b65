"""`aimic jobs`: list, show, watch, cancel."""

import typer
from rich.console import Group, RenderableType

from aimic.client import Client
from aimic.domain.dataset import Level
from aimic.domain.job import Job, Status
from services.local.cli.models import metrics_words, reference
from services.local.cli.session import Json, Server, connect, err, show, table
from services.local.cli.watch import watch as watch_job

app = typer.Typer(help="Training jobs.", no_args_is_help=True)


@app.command("list")
def list_(server: Server = None, as_json: Json = False) -> None:
    """All jobs, newest first."""
    with connect(server) as client:
        found = client.jobs.list()
    show(
        as_json, found, lambda: table(("job", "status", "data set", "networks", "started", "models"), map(_row, found))
    )


@app.command("show")
def show_(job_id: str, server: Server = None, as_json: Json = False) -> None:
    """One job with its tasks."""
    with connect(server) as client:
        job = client.jobs.show(job_id)
    show(as_json, job, lambda: job_words(job))


@app.command()
def watch(job_id: str, server: Server = None, as_json: Json = False) -> None:
    """Stay with a job until it is over: batch in epoch, epoch in fold, folds in all, and an estimate."""
    with connect(server) as client:
        finish(client, watch_job(client, job_id, quiet=as_json), as_json)


@app.command()
def cancel(job_id: str, server: Server = None, as_json: Json = False) -> None:
    """Stop a job; models that it has made stay."""
    with connect(server) as client:
        job = client.jobs.cancel(job_id)
    show(as_json, job, lambda: job_words(job))


def finish(client: Client, job: Job, as_json: bool) -> None:
    """Show a finished job with the metrics of its models; exit status 1 unless it is done."""
    models = [client.models.show(*reference(name)) for name in job.models]
    shown = [metrics_words(model) for model in models]
    show(as_json, {"job": job, "models": models} if as_json else None, lambda: Group(job_words(job), *shown))
    if job.status is not Status.DONE:
        if as_json:
            err.print(job.error or f"The job is {job.status}.")
        raise typer.Exit(1)


def job_words(job: Job) -> RenderableType:
    """A job for people."""
    left = f", about {job.eta_s / 60:.0f} min left" if job.eta_s and not job.status.over else ""
    head = f"Job {job.id}: {job.status}{left}; data set {job.dataset} version {job.version}"
    notes = [f"{'note' if item.level is Level.INFO else 'warning'}: {item.message}" for item in job.findings]
    tasks = table(("task", "status", "attempt", ""), ((t.key, t.status, t.attempt, t.error or "") for t in job.tasks))
    ends = [job.error] if job.error else []
    if not job.status.over:
        ends.append(f"Watch it: aimic jobs watch {job.id}")
    if job.models:
        ends.append(f"Models: {', '.join(job.models)}")
    return Group(head, *notes, "", tasks, "", *ends)


def _row(job: Job) -> tuple[object, ...]:
    started = f"{job.created_at:%Y-%m-%d %H:%M}"
    return job.id, job.status, job.dataset, ", ".join(job.settings.networks), started, ", ".join(job.models)
