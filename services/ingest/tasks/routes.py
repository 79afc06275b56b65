"""Tasks over HTTP: for workers. A claim needs a worker's credential; all else needs the task's own token."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from aimic.domain.work import (
    CheckpointReport,
    Claim,
    ClaimRequest,
    FailReport,
    FencedRequest,
    FinishReport,
    ObjectSlots,
    ObjectsRequest,
    ProgressReport,
    Renewal,
    TaskSamples,
)
from services.ingest.dependencies import Parts, TaskWorker
from services.ingest.tasks import claiming, finishing, objects, reporting
from services.ingest.tasks.holding import look, of_task, same_fence
from services.ingest.tasks.specification import claim_of, samples_of
from services.ingest.tasks.tokens import TaskToken, secret_of, sign, verify

router = APIRouter(prefix="/tasks", tags=["tasks"])

SAMPLES_AT_ONCE = 5000


def task_token(
    task_id: str, request: Request, parts: Parts, x_task_token: Annotated[str | None, Header()] = None
) -> TaskToken:
    """The verified token of this task, from X-Task-Token or `Authorization: Bearer`."""
    text = x_task_token or request.headers.get("authorization", "").partition(" ")[2]
    return of_task(verify(secret_of(parts.database), text), task_id)


Token = Annotated[TaskToken, Depends(task_token)]


@router.post("/claim", response_model=Claim, responses={204: {"description": "Nothing to do"}})
def claim(request: ClaimRequest, principal: TaskWorker, parts: Parts) -> Response:
    """Any task that fits the worker, under a lease."""
    found = claiming.claim(parts, principal, request)
    if found is None:
        return Response(status_code=204)
    return Response(found.model_dump_json(), media_type="application/json")


@router.post("/{task_id}/renew")
def renew(request: FencedRequest, token: Token, parts: Parts) -> Renewal:
    """One more term."""
    return reporting.renew(parts.database, token, request.fence, parts.settings.lease_s)


@router.post("/{task_id}/progress", status_code=204)
def progress(request: ProgressReport, token: Token, parts: Parts) -> None:
    """How far the work is."""
    reporting.progress(parts.database, token, request)


@router.get("/{task_id}/claim")
def claimed(token: Token, parts: Parts) -> Claim:
    """The claim once more, with a fresh token and fresh addresses, for when the store refuses the old ones."""
    return claim_of(parts, token, sign(secret_of(parts.database), token))


@router.get("/{task_id}/samples", response_model=TaskSamples)
def samples(
    token: Token,
    parts: Parts,
    after: Annotated[int, Query(ge=-1)] = -1,
    limit: Annotated[int | None, Query(ge=1)] = None,
) -> StreamingResponse:
    """All samples in manifest order, or `limit` of them after an index; streamed, since there can be very many."""
    found = samples_of(parts, token)

    def text() -> Iterator[str]:
        position, left = after, limit or len(found.samples)
        following: int | None = position
        yield '{"items":['
        while following is not None and left > 0:
            items, following = found.part(position, min(SAMPLES_AT_ONCE, left))
            yield ("," if position > after else "") + ",".join(item.model_dump_json() for item in items)
            position, left = following or position, left - len(items)
        yield f'],"next":{"null" if following is None else following}}}'

    return StreamingResponse(text(), media_type="application/json")


@router.post("/{task_id}/objects")
def slots(request: ObjectsRequest, token: Token, parts: Parts) -> ObjectSlots:
    """Where to write objects."""
    same_fence(token, request.fence)
    with parts.database.read(token.site) as session:
        look(session, token)
    return objects.slots(parts.blobs, token, request, parts.settings.ingest_url_ttl_s)


@router.post("/{task_id}/checkpoint", status_code=204)
def checkpoint(request: CheckpointReport, token: Token, parts: Parts) -> None:
    """Make what was written the newest checkpoint."""
    with parts.database.read(token.site) as session:
        task = look(session, token)
    objects.check(parts.blobs, token, task, request.objects)
    reporting.checkpoint(parts.database, token, request)


@router.post("/{task_id}/finish", status_code=204)
def finish(request: FinishReport, token: Token, parts: Parts) -> None:
    """The task is done."""
    finishing.finish(parts, token, request)


@router.post("/{task_id}/fail", status_code=204)
def fail(request: FailReport, token: Token, parts: Parts) -> None:
    """The task could not be done."""
    reporting.fail(parts.database, token, request)


@router.post("/{task_id}/release", status_code=204)
def release(request: FencedRequest, token: Token, parts: Parts) -> None:
    """Hand the task back."""
    reporting.release(parts.database, token, request.fence)
