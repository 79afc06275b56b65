"""Calls that come again, late, from whoever should know better: each must be refused, or change nothing."""

import base64
import hashlib
from collections.abc import Iterator, Sequence

import httpx
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from services.ingest.tasks import tokens
from services.ingest.tasks.tables import SecretRow, TaskRow
from tests.faults.calls import Calls
from tests.faults.scenario import TUS
from tests.faults.told import Told
from tests.patience import patiently

GONE = frozenset({401, 404, 409})
REFUSED = frozenset({409})


class Replays:
    """For everything that one history was told of."""

    def __init__(self, engine: Engine, calls: Calls, told: Told) -> None:
        self._engine, self._calls, self._told = engine, calls, told

    def run(self) -> list[str]:
        """Say all of it again; what was answered as if it were new."""
        return [*self._patches(), *self._tasks()]

    def _patches(self) -> Iterator[str]:
        for sent in self._told.sent:
            piece = sent.data[:100]
            headers = TUS | {
                "upload-offset": "0",
                "upload-checksum": f"sha256 {base64.b64encode(hashlib.sha256(piece).digest()).decode()}",
                "content-type": "application/offset+octet-stream",
            }
            answer = self._calls.send("PATCH", f"/api/v1/uploads/{sent.id}", headers=headers, content=piece)
            if answer.status_code not in GONE:
                yield f"the first bytes of upload {sent.id} were taken again: {answer.status_code} {answer.text}"

    def _tasks(self) -> Iterator[str]:
        # Another fault of the history may have brought the database down; it is healed while we wait.
        tasks, secret = patiently(self._known, OperationalError)
        for task in tasks:
            for fence in range(max(1, task.fence - 1), task.fence + 1):
                yield from self._of_task(task, fence, tokens.sign(secret, tokens.TaskToken(task.site, task.id, fence)))
            # The true end, told again because its answer was lost: taken as what it is.
            body = {"fence": task.fence, "result": task.result, "objects": task.objects}
            token = tokens.sign(secret, tokens.TaskToken(task.site, task.id, task.fence))
            answer = self._say(task, token, "finish", body)
            if answer.status_code != httpx.codes.NO_CONTENT:
                yield f"the end of {task.key} told again: {answer.status_code} {answer.text}"

    def _known(self) -> tuple[Sequence[TaskRow], bytes]:
        """The history's tasks, and what their tokens are signed with."""
        with Session(self._engine) as session:
            ours = TaskRow.job_id.in_([trained.id for trained in self._told.trained])
            tasks = session.scalars(select(TaskRow).where(ours)).all()
            return tasks, bytes.fromhex(session.scalars(select(SecretRow.value)).one())

    def _of_task(self, task: TaskRow, fence: int, token: str) -> Iterator[str]:
        written = f"{task.site}/tasks/{task.id}/{fence}/1000000/"
        calls: dict[str, dict[str, object]] = {
            "renew": {"fence": fence},
            "progress": {"fence": fence, "events": [{"kind": "warning", "data": {"message": "from the dead"}}]},
            "objects": {"fence": fence, "step": 1, "names": ["model.safetensors"]},
            "checkpoint": {
                "fence": fence,
                "step": 10**6,
                "objects": {"model.safetensors": f"{written}model.safetensors"},
            },
            "finish": {"fence": fence, "result": {"from": "the dead"}, "objects": {}},
            "fail": {"fence": fence, "reason": "from the dead", "detail": "", "retry": True},
            "release": {"fence": fence},
        }
        for what, body in calls.items():
            answer = self._say(task, token, what, body)
            if answer.status_code not in REFUSED:
                yield f"{what} of {task.key} under fence {fence} of {task.fence}: {answer.status_code} {answer.text}"

    def _say(self, task: TaskRow, token: str, what: str, body: dict[str, object]) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return self._calls.send("POST", f"/api/v1/tasks/{task.id}/{what}", headers=headers, json=body)
