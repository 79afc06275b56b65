"""Registered models: look at, carry elsewhere, promote, judge."""

import time
from pathlib import Path
from urllib.parse import quote

from aimic.client.download import FetchProgress, fetch
from aimic.client.paging import pages
from aimic.client.sources import Sendable
from aimic.client.transport import Transport
from aimic.client.uploads import SendProgress, Uploads
from aimic.domain.job import Status
from aimic.domain.model import Evaluation, ModelVersion
from aimic.errors import DeadlineError


class Models:
    """`client.models`. Where a version is None, the serving one is meant, else the newest."""

    def __init__(self, transport: Transport, uploads: Uploads) -> None:
        self._transport = transport
        self._uploads = uploads

    def list(self, name: str | None = None) -> list[ModelVersion]:
        """All versions (of one name), newest first."""
        return list(pages(self._transport, "/api/v1/models", ModelVersion, name=name))

    def show(self, name: str, version: int | None = None) -> ModelVersion:
        """One version."""
        return ModelVersion.model_validate(self._transport.get(_path(name, version)))

    def export(self, name: str, to: Path, version: int | None = None, progress: FetchProgress | None = None) -> Path:
        """Write the bundle to a file, or into a directory under the server's name for it."""
        version = version or self.show(name).version
        path = f"{_path(name, version)}/bundle"
        return fetch(self._transport, path, to, f"{name}-{version}.aimic", progress)

    def bundle(self, name: str, version: int) -> bytes:
        """The exported bundle in memory, for a page that hands it on."""
        return self._transport.request("GET", f"{_path(name, version)}/bundle").content

    def import_(self, what: Sendable, name: str | None = None, progress: SendProgress | None = None) -> ModelVersion:
        """Register an exported bundle; CorruptError when a byte of it was changed."""
        upload = self._uploads.send(what, progress=progress)
        body = {"upload": upload.id, "name": name}
        return ModelVersion.model_validate(self._transport.create("/api/v1/models/import", body, slow=True))

    def promote(self, name: str, version: int) -> ModelVersion:
        """Let this version serve; the one that served becomes a candidate."""
        return ModelVersion.model_validate(self._transport.create(f"{_path(name, version)}/promote", {}))

    def evaluate(
        self, name: str, dataset: str, version: int | None = None, dataset_version: int | None = None
    ) -> Evaluation:
        """Start judging a model on a data set; what it could know of it is left out and listed."""
        version = version or self.show(name).version
        body = {"dataset": dataset, "version": dataset_version}
        return Evaluation.model_validate(self._transport.create(f"{_path(name, version)}/evaluate", body, slow=True))

    def evaluation(self, evaluation_id: str, wait: bool = False, timeout_s: float | None = None) -> Evaluation:
        """An evaluation as it is, or (with `wait`) once it is over; DeadlineError after `timeout_s`."""
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.3
        while True:
            state = Evaluation.model_validate(self._transport.get(f"/api/v1/evaluations/{evaluation_id}"))
            if not wait or Status(state.status).over:
                return state
            if ends is not None and time.monotonic() > ends:
                raise DeadlineError(f"The evaluation is still {state.status}; it goes on, so look again later.")
            self._transport.retry.sleep(pause_s)
            pause_s = min(3.0, pause_s * 1.3)


def _path(name: str, version: int | None) -> str:
    path = f"/api/v1/models/{quote(name, safe='')}"
    return path if version is None else f"{path}/versions/{version}"
