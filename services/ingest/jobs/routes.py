"""Jobs over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from sse_starlette.sse import EventSourceResponse
from starlette.responses import Response

from aimic import faults
from aimic.domain.job import Job, JobRequest, Progress
from aimic.domain.split import Split
from services.ingest.dependencies import JobsReader, JobsWriter, Parts
from services.ingest.idempotency import CarriedOutOnce
from services.ingest.jobs import planning
from services.ingest.jobs.journal import signal_of
from services.ingest.jobs.service import JobService
from services.ingest.paging import Page, Paging
from services.ingest.progress import stream

router = APIRouter(prefix="/jobs", tags=["jobs"])


def _service(parts: Parts) -> JobService:
    return JobService(parts)


Service = Annotated[JobService, Depends(_service)]
After = Annotated[int, Query(ge=0)]


@router.post("", status_code=201, response_model=Job)
def start(request: JobRequest, principal: JobsWriter, parts: Parts, service: Service, once: CarriedOutOnce) -> Response:
    """Start a training job; folds and warnings are worked out now."""
    answer = once.after(
        principal,
        request,
        lambda: planning.prepare(parts, principal, request),
        lambda session, plan: service.start(session, principal, plan),
    )
    faults.point("ingest.job.committed")
    return answer


@router.get("")
def jobs(page: Paging, principal: JobsReader, service: Service) -> Page[Job]:
    """Jobs, newest first."""
    return service.list(principal, page)


@router.get("/{job_id}")
def show(job_id: str, principal: JobsReader, service: Service) -> Job:
    """One job with its tasks."""
    return service.show(principal, job_id)


@router.post("/{job_id}/cancel")
def cancel(job_id: str, principal: JobsWriter, service: Service) -> Job:
    """Stop a job; what was done is kept."""
    return service.cancel(principal, job_id)


@router.get("/{job_id}/split")
def split(job_id: str, principal: JobsReader, service: Service) -> Split:
    """The division into folds, as the job stored it."""
    return service.split(principal, job_id)


@router.get("/{job_id}/progress")
def progress(
    job_id: str,
    principal: JobsReader,
    service: Service,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> Page[Progress]:
    """Events after a sequence, in order."""
    return service.progress(principal, job_id, after, limit)


@router.get("/{job_id}/events")
def events(
    job_id: str,
    principal: JobsReader,
    parts: Parts,
    service: Service,
    after: After = 0,
    last_event_id: Annotated[str, Header(max_length=20)] = "",
) -> EventSourceResponse:
    """Events as they come, until the job's last; goes on after Last-Event-ID."""
    service.progress(principal, job_id, 0, 1)  # an unknown job is a 404, not an empty stream
    position = int(last_event_id) if last_event_id.isdecimal() else after
    key = signal_of(principal.site, job_id)
    return stream(lambda after: service.poll(principal, job_id, after), position, parts.signals, key)
