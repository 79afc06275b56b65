"""Data sets: import, look at, export."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, cast
from urllib.parse import quote

from aimic.client.download import FetchProgress, fetch
from aimic.client.events import follow
from aimic.client.paging import pages
from aimic.client.sources import Sendable
from aimic.client.transport import Transport
from aimic.client.uploads import Uploads
from aimic.domain.base import Value
from aimic.domain.dataset import (
    Dataset,
    DatasetVersion,
    Import,
    ImportRequest,
    ImportStatus,
    LabelRule,
    Refusal,
    SampleView,
    Upload,
)


class ImportStep(Value):
    """How far an import is: first bytes are sent, then files are looked at."""

    phase: Literal["send", "import"]
    done: int
    total: int | None
    """Bytes while sending, files while importing; None while not known."""
    state: Import | None = None


ImportProgress = Callable[[ImportStep], None]
Importable = Sendable | Upload


class Datasets:
    """`client.datasets`."""

    def __init__(self, transport: Transport, uploads: Uploads) -> None:
        self._transport = transport
        self._uploads = uploads

    def import_(
        self,
        what: Importable | Sequence[Importable],
        name: str,
        labels: LabelRule | None = None,
        progress: ImportProgress | None = None,
    ) -> Import:
        """Send `what` (folder, archive, image, bytes; or finished uploads), import it, wait for the end.

        The returned import is done or failed; a failed one says why in `error`.
        """
        parts = _several(what)
        uploads = [part.id if isinstance(part, Upload) else self._send(part, progress).id for part in parts]
        started = self.start_import(uploads, name, labels)
        last = started
        for state in self.watch_import(started.id):
            last = state
            if progress:
                progress(ImportStep(phase="import", done=state.seen, total=state.total, state=state))
        return last

    def _send(self, part: Sendable, progress: ImportProgress | None) -> Upload:
        def told(done: int, total: int) -> None:
            if progress:
                progress(ImportStep(phase="send", done=done, total=total))

        return self._uploads.send(part, progress=told)

    def start_import(self, uploads: Sequence[str], name: str, labels: LabelRule | None = None) -> Import:
        """Start importing finished uploads (their ids) into data set `name`; don't wait."""
        request = ImportRequest(dataset=name, uploads=tuple(uploads), labels=labels or LabelRule())
        return Import.model_validate(self._transport.create("/api/v1/imports", request.model_dump(mode="json")))

    def show_import(self, import_id: str) -> Import:
        """The state of an import."""
        return Import.model_validate(self._transport.get(f"/api/v1/imports/{import_id}"))

    def watch_import(self, import_id: str) -> Iterator[Import]:
        """The states of an import as they come, until it is done or failed."""
        state = self.show_import(import_id)
        yield state
        path = f"/api/v1/imports/{import_id}/events"
        events = follow(self._transport, path, lambda: _over(self.show_import(import_id)))
        while not _over(state):
            event = next(events, None)
            if event is None:
                yield self.show_import(import_id)
                return
            if event.kind == "import":
                state = Import.model_validate_json(event.data)
                yield state

    def import_refused(self, import_id: str) -> list[Refusal]:
        """The files that an import did not take, each with the reason."""
        return list(pages(self._transport, f"/api/v1/imports/{import_id}/refused", Refusal))

    def list(self) -> list[Dataset]:
        """All data sets."""
        return list(pages(self._transport, "/api/v1/datasets", Dataset))

    def show(self, name: str) -> Dataset:
        """A data set with its newest version."""
        return Dataset.model_validate(self._transport.get(_path(name)))

    def version(self, name: str, version: int | None = None) -> DatasetVersion | None:
        """One version; the newest without a number (None while there is none)."""
        if version is None:
            return self.show(name).latest
        return DatasetVersion.model_validate(self._transport.get(f"{_path(name)}/versions/{version}"))

    def samples(self, name: str, version: int, label: str | None = None) -> Iterator[SampleView]:
        """The samples of a version (of one class), fetched page by page as they are asked for."""
        return pages(self._transport, f"{_path(name)}/versions/{version}/samples", SampleView, label=label)

    def some_samples(self, name: str, version: int, label: str, count: int) -> tuple[SampleView, ...]:
        """The first `count` samples of a class, in one small request."""
        page = self._transport.get(f"{_path(name)}/versions/{version}/samples", label=label, limit=count)
        return tuple(SampleView.model_validate(item) for item in page["items"][:count])

    def refused(self, name: str, version: int) -> tuple[Refusal, ...]:
        """The files that did not go into a version, each with the reason."""
        return tuple(pages(self._transport, f"{_path(name)}/versions/{version}/refused", Refusal))

    def image(self, name: str, sha256: str, size: int | None = None) -> bytes:
        """A PNG thumbnail of `size` pixels, or the stored file without a size."""
        path = f"{_path(name)}/samples/{quote(sha256, safe='')}/image"
        params = {} if size is None else {"size": size}
        return self._transport.request("GET", path, params=params).content

    def export(self, name: str, to: Path, version: int, progress: FetchProgress | None = None) -> Path:
        """Write a version as a zip (CLASS/filename and labels.csv) to a file, or into a directory."""
        path = f"{_path(name)}/versions/{version}/export"
        return fetch(self._transport, path, to, f"{name}-{version}.zip", progress)


def _several(what: Importable | Sequence[Importable]) -> Sequence[Importable]:
    return cast("Sequence[Importable]", what if isinstance(what, list | tuple) else [what])


def _over(state: Import) -> bool:
    return state.status in {ImportStatus.DONE, ImportStatus.FAILED}


def _path(name: str) -> str:
    return f"/api/v1/datasets/{quote(name, safe='')}"
