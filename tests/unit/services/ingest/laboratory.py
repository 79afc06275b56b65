"""A laboratory in a temporary directory: tiny drawn pictures, archives, and imports run to their end right here."""

import io
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from aimic.domain.dataset import Import, ImportRequest, LabelRule
from aimic.domain.site import OWNER
from aimic.imaging.sandbox import Sandbox
from services.ingest.datasets import routes as datasets
from services.ingest.dependencies import Ingest
from services.ingest.imports import bringing
from services.ingest.imports import routes as imports
from services.ingest.imports.service import ImportService
from services.ingest.imports.worker import ImportWorker
from services.ingest.uploads.service import UploadService


class Kept(Sandbox):
    """A sandbox that outlives one import, since starting its children takes longer than a test may."""

    examined = 0

    def examine(self, data: bytes) -> Any:
        """Count, then examine in earnest."""
        self.examined += 1
        return super().examine(data)

    def __exit__(self, *_: object) -> None:
        """Stay."""


@pytest.fixture(scope="session")
def children() -> Iterator[Kept]:
    """One sandbox for the whole run."""
    sandbox = Kept(2)
    yield sandbox
    sandbox.close()


@pytest.fixture
def sandbox(children: Kept, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """The sandbox that imports use; counts what it examined."""
    children.examined = 0
    monkeypatch.setattr(bringing, "Sandbox", lambda processes: children)
    return children


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (24, 20)) -> bytes:
    """A drawn picture: large blots, so that no two seeds look alike."""
    draw = random.Random(seed)
    small = Image.new("RGB", (5, 4))
    small.putdata([tuple(draw.randrange(256) for _ in range(3)) for _ in range(20)])
    out = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(out, kind)
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of these files, in this order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


class Lab:
    """A small installation: uploads, imports, and a client for the rest."""

    def __init__(self, parts: Ingest, client: TestClient) -> None:
        self.parts, self.client = parts, client
        self.worker = ImportWorker(parts)

    def upload(self, data: bytes, name: str = "cells.zip") -> str:
        uploads = UploadService(self.parts)
        live, _ = uploads.create(OWNER, len(data), name, None)
        uploads.record("local", live.upload.id, 0, [uploads.stage("local", live.upload.id, data)])
        return live.upload.id

    def start(self, files: Mapping[str, bytes], dataset: str = "cells", **rule: Any) -> Import:
        return self.start_uploads([self.upload(zipped(files))], dataset, **rule)

    def start_uploads(self, uploads: list[str], dataset: str = "cells", **rule: Any) -> Import:
        request = ImportRequest(dataset=dataset, uploads=tuple(uploads), labels=LabelRule(**rule))
        with self.parts.database.begin("local") as session:
            return ImportService(self.parts).start(session, OWNER, request)

    def finish(self, started: Import) -> Import:
        assert self.worker.run_one()
        return ImportService(self.parts).show("local", started.id)

    def import_(self, files: Mapping[str, bytes], dataset: str = "cells", **rule: Any) -> Import:
        return self.finish(self.start(files, dataset, **rule))

    def get(self, path: str, **params: Any) -> Any:
        answer = self.client.get(f"/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def version(self, version: int = 1, dataset: str = "cells") -> Any:
        return self.get(f"datasets/{dataset}/versions/{version}")

    def samples(self, version: int = 1, dataset: str = "cells", **params: Any) -> list[Any]:
        items: list[Any] = self.get(f"datasets/{dataset}/versions/{version}/samples", **params)["items"]
        return items

    def findings(self, version: int = 1, dataset: str = "cells") -> dict[str, str]:
        return {finding["code"]: finding["message"] for finding in self.version(version, dataset)["findings"]}

    def objects(self) -> list[str]:
        return sorted(blob.key for blob in self.parts.blobs.list("local/samples/"))


@pytest.fixture
def make_lab(
    make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient], sandbox: Kept
) -> Callable[[], Lab]:
    """Another process on the same home, each time."""

    def make() -> Lab:
        parts = make_parts()
        return Lab(parts, make_client(parts, imports.router, datasets.router))

    return make


@pytest.fixture
def lab(make_lab: Callable[[], Lab]) -> Lab:
    return make_lab()


@pytest.fixture
def draw() -> Callable[..., bytes]:
    """`draw(seed, kind, size)`: a picture's file."""
    return picture


@pytest.fixture
def pack() -> Callable[[Mapping[str, bytes]], bytes]:
    """`pack({name: data})`: a zip."""
    return zipped
