"""Ingest's task interface, as a worker uses it."""

from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from aimic.domain.base import Command
from aimic.domain.job import TaskKind
from aimic.domain.work import (
    CheckpointReport,
    Claim,
    ClaimRequest,
    FailReport,
    FencedRequest,
    FinishReport,
    ObjectSlot,
    ObjectSlots,
    ObjectsRequest,
    ProgressItem,
    ProgressReport,
    Renewal,
    TaskSample,
    TaskSamples,
)
from aimic.errors import (
    AimicError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
    StaleFenceError,
    UnavailableError,
)
from aimic.telemetry import outgoing

TIMEOUT = httpx.Timeout(10.0, connect=2.0)
SLOW_TIMEOUT = httpx.Timeout(60.0, connect=2.0)
"""Of calls that a busy ingest may take long over: a claim that it answers when we have gone costs an attempt."""
LAST_TIMEOUT = httpx.Timeout(4.0, connect=2.0)
"""Of the last word of a process that was asked to end."""
FINISH_TIMEOUT = httpx.Timeout(300.0, connect=2.0)
"""Ingest checks every byte of a bundle before it answers."""
PAGE = 5000
"""Samples asked for at once."""
_BY_STATUS: dict[int, type[AimicError]] = {
    401: NotAuthenticatedError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidInputError,
}


def _error_of(response: httpx.Response) -> AimicError:
    try:
        problem: dict[str, Any] = response.json()
    except ValueError:
        problem = {}
    words = str(problem.get("detail") or f"ingest answered {response.status_code}")
    if problem.get("code") == StaleFenceError.code:
        return StaleFenceError(words)
    if response.status_code >= 500 or response.status_code == 429:
        return UnavailableError(words)
    return _BY_STATUS.get(response.status_code, InvalidInputError)(words)


class Ingest:
    """Asks for tasks. UnavailableError when ingest can't be reached."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        base = f"{url.rstrip('/')}/api/v1"
        # Proxies of the environment are not for our own parts.
        self._client = httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT, trust_env=False)

    def claim(self, worker: str, kinds: Sequence[TaskKind]) -> Claim | None:
        """Any task that fits, or None when there is nothing to do."""
        wish = ClaimRequest(worker=worker, kinds=tuple(kinds))
        response = self.send("POST", "/tasks/claim", wish, timeout=SLOW_TIMEOUT)
        return None if response.status_code == 204 else Claim.model_validate_json(response.content)

    def task(self, claim: Claim) -> "ClaimedTask":
        """The calls about a claimed task."""
        return ClaimedTask(self, claim)

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def send(self, method: str, path: str, body: Command | None = None, **options: Any) -> httpx.Response:
        """One call; its answer when that is no error."""
        content = body.model_dump_json() if body is not None else None
        headers = {**options.pop("headers", {}), **outgoing(), "content-type": "application/json"}
        try:
            response = self._client.request(method, path, content=content, headers=headers, **options)
        except httpx.TransportError as error:
            raise UnavailableError(f"Ingest can't be reached: {error}") from error
        if response.is_error:
            raise _error_of(response)
        return response


class ClaimedTask:
    """One claimed task; every call carries its token and fence.

    StaleFenceError when the task was given to another worker: nothing of the call was taken.
    """

    def __init__(self, ingest: Ingest, claim: Claim) -> None:
        self._ingest = ingest
        self._path = f"/tasks/{claim.task.id}"
        self._fence = claim.fence
        self._headers = {"authorization": f"Bearer {claim.token}"}

    def _send(self, method: str, what: str, body: Command | None = None, **options: Any) -> httpx.Response:
        return self._ingest.send(method, f"{self._path}/{what}", body, headers=self._headers, **options)

    def claimed(self) -> Claim:
        """The claim once more, with fresh addresses."""
        return Claim.model_validate_json(self._send("GET", "claim", timeout=SLOW_TIMEOUT).content)

    def samples(self) -> Iterator[TaskSample]:
        """All samples of the manifest, in its order, fetched page by page."""
        after: int | None = None
        while True:
            query = {"limit": PAGE} if after is None else {"limit": PAGE, "after": after}
            response = self._send("GET", "samples", params=query, timeout=SLOW_TIMEOUT)
            page = TaskSamples.model_validate_json(response.content)
            yield from page.items
            if page.next is None:
                return
            after = page.next

    def renew(self) -> Renewal:
        """Keep the lease, and take over the fresh token that comes with it."""
        response = self._send("POST", "renew", FencedRequest(fence=self._fence))
        renewal = Renewal.model_validate_json(response.content)
        if renewal.token:
            self._headers = {"authorization": f"Bearer {renewal.token}"}
        return renewal

    def progress(self, events: Sequence[ProgressItem]) -> None:
        """Tell, in order."""
        self._send("POST", "progress", ProgressReport(fence=self._fence, events=tuple(events)))

    def slots(self, step: int, names: Sequence[str]) -> dict[str, ObjectSlot]:
        """Where to write a step's objects."""
        wish = ObjectsRequest(fence=self._fence, step=step, names=tuple(names))
        response = self._send("POST", "objects", wish, timeout=SLOW_TIMEOUT)
        return ObjectSlots.model_validate_json(response.content).urls

    def checkpoint(self, step: int, objects: dict[str, str]) -> None:
        """All objects of the step are written."""
        self._send("POST", "checkpoint", CheckpointReport(fence=self._fence, step=step, objects=objects))

    def finish(self, result: dict[str, Any], objects: dict[str, str]) -> None:
        """The task is done."""
        body = FinishReport(fence=self._fence, result=result, objects=objects)
        self._send("POST", "finish", body, timeout=FINISH_TIMEOUT)

    def fail(self, reason: str, detail: str, retry: bool) -> None:
        """The task could not be done."""
        body = FailReport(fence=self._fence, reason=reason, detail=detail, retry=retry)
        self._send("POST", "fail", body)

    def release(self) -> None:
        """Hand the task back; the attempt isn't counted."""
        self._send("POST", "release", FencedRequest(fence=self._fence), timeout=LAST_TIMEOUT)
