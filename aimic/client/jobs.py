"""Training jobs: start, watch, stop."""

import json
from collections.abc import Iterator
from itertools import islice

from aimic.client.events import follow
from aimic.client.paging import pages
from aimic.client.transport import Transport
from aimic.domain.job import Job, JobRequest, Progress, ProgressKind, Status
from aimic.domain.split import Split


class Jobs:
    """`client.jobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, request: JobRequest) -> Job:
        """Start a job; InvalidInputError with the reason when it can't be done. Sent twice, it starts once."""
        body = request.model_dump(mode="json")
        return Job.model_validate(self._transport.create("/api/v1/jobs", body, slow=True))

    def list(self, most: int | None = None) -> list[Job]:
        """All jobs (or the `most` newest), newest first."""
        return list(islice(pages(self._transport, "/api/v1/jobs", Job, limit=min(most or 200, 200)), most))

    def show(self, job_id: str) -> Job:
        """A job with its tasks as they are now."""
        return Job.model_validate(self._transport.get(f"/api/v1/jobs/{job_id}"))

    def split(self, job_id: str) -> Split:
        """The division into folds that the job stored."""
        return Split.model_validate(self._transport.get(f"/api/v1/jobs/{job_id}/split"))

    def progress(self, job_id: str, after: int = 0) -> Iterator[Progress]:
        """The stored events with a sequence above `after`, without waiting for more."""
        limit = 500
        while True:
            page = self._transport.get(f"/api/v1/jobs/{job_id}/progress", after=after, limit=limit)
            events = [Progress.model_validate(item) for item in page["items"]]
            yield from events
            if not events or len(events) < limit:
                return
            after = events[-1].sequence

    def watch(self, job_id: str, after: int = 0) -> Iterator[Progress]:
        """Events as they come, over broken connections, until the job is over; none twice, none left out.

        UnavailableError when the server stays away for about half a minute.
        """

        def over() -> bool:
            return self.show(job_id).status.over

        last = str(after) if after else ""
        for event in follow(self._transport, f"/api/v1/jobs/{job_id}/events", over, last):
            if not event.data.startswith("{"):
                continue
            progress = Progress.model_validate(json.loads(event.data))
            # A batch event keeps only its newest state, but each has a sequence of its own.
            if progress.sequence <= after:
                continue
            after = progress.sequence
            yield progress
            if _ends(progress):
                return

    def cancel(self, job_id: str) -> Job:
        """Stop a job; what its finished folds made is kept."""
        return Job.model_validate(self._transport.create(f"/api/v1/jobs/{job_id}/cancel", {}))


def _ends(progress: Progress) -> bool:
    """Whether this is the job's last status."""
    if progress.kind is not ProgressKind.STATUS or progress.task_id is not None:
        return False
    return Status(progress.data.get("status", Status.RUNNING)).over
