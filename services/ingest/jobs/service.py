"""Jobs: started, shown, stopped."""

from sqlalchemy.orm import Session

from aimic import faults
from aimic.domain.job import Job, Progress, Status
from aimic.domain.site import Principal
from aimic.domain.split import Split
from aimic.errors import ConflictError
from services.ingest.audit.service import record
from services.ingest.dependencies import Ingest
from services.ingest.jobs import lifecycle, locks, planning, repository, views
from services.ingest.jobs.journal import tell_status
from services.ingest.jobs.tables import JobKind
from services.ingest.paging import Page, PageRequest, cut
from services.ingest.progress import Batch, sse

STREAM_BATCH = 500


class JobService:
    """What can be done with a site's jobs."""

    def __init__(self, parts: Ingest) -> None:
        self._parts = parts
        self._database = parts.database

    def start(self, session: Session, principal: Principal, plan: planning.Plan) -> Job:
        """Job, tasks and wake-ups in the caller's one transaction."""
        locks.refuse_late(session, principal.site, plan.data, plan.split, plan.lockers)
        now = self._database.now(session)
        job, tasks = planning.write(session, plan, principal, now)
        words = "The job waits for a worker."
        tell_status(session, job, now, Status.READY, words)
        for task in tasks:
            if task.status == Status.READY:
                lifecycle.wake(session, task, now)
        record(session, now, job.site, principal.name, "job.create", job.id, dataset=job.dataset, version=job.version)
        faults.point("ingest.job.before")
        return views.shown(session, job.site, [job])[0]

    def show(self, principal: Principal, job_id: str) -> Job:
        """One training job."""
        with self._database.read(principal.site) as session:
            row = repository.find(session, principal.site, job_id, JobKind.TRAIN)
            return views.shown(session, principal.site, [row])[0]

    def list(self, principal: Principal, page: PageRequest) -> Page[Job]:
        """Training jobs, newest first."""
        with self._database.read(principal.site) as session:
            rows = repository.newest(session, principal.site, page.limit, page.after())
            shown = views.shown(session, principal.site, rows)
        return cut(shown, page, lambda job: job, lambda job: (job.id,))

    def split(self, principal: Principal, job_id: str) -> Split:
        """The division into folds."""
        with self._database.read(principal.site) as session:
            return repository.split_of(session, principal.site, job_id)

    def cancel(self, principal: Principal, job_id: str) -> Job:
        """Stop a job. Stopping a stopped one is harmless; a finished one can't be stopped."""
        with self._database.begin(principal.site) as session:
            job = repository.lock(session, principal.site, job_id)
            if job.status in {Status.DONE, Status.FAILED}:
                raise ConflictError(f"The job is over already ({job.status}); nothing was changed.")
            if job.status != Status.CANCELLED:
                now = self._database.now(session)
                lifecycle.cancelled(session, job, now, principal.name)
                record(session, now, job.site, principal.name, "job.cancel", job.id)
            return views.shown(session, principal.site, [job])[0]

    def progress(self, principal: Principal, job_id: str, after: int, limit: int) -> Page[Progress]:
        """Stored events with a higher sequence; `next` is the `after` of the rest."""
        with self._database.read(principal.site) as session:
            repository.find(session, principal.site, job_id)
            rows = repository.progress_after(session, principal.site, job_id, after, limit + 1)
        more = str(rows[limit - 1].sequence) if len(rows) > limit else None
        return Page(items=[views.told(row) for row in rows[:limit]], next=more)

    def poll(self, principal: Principal, job_id: str, after: int) -> Batch:
        """For the stream: events after a sequence, and whether the job is over and all is told."""
        with self._database.read(principal.site) as session:
            job = repository.find(session, principal.site, job_id)
            rows = repository.progress_after(session, principal.site, job_id, after, STREAM_BATCH)
        events = [sse(row.kind, views.told(row).model_dump_json(), row.sequence) for row in rows]
        position = rows[-1].sequence if rows else after
        over = Status(job.status).over and len(rows) < STREAM_BATCH
        return Batch(events, position, over)
