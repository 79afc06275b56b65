"""A real predictor on tiny bundles, and a tiny registry that speaks HTTP without a socket."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from aimic.adapters.local_predictor import LocalPredictor
from aimic.domain.model import ServingEntry, Stage
from aimic.errors import UnavailableError
from aimic.nets import bundle
from aimic.nets.info import Member, Temperature
from aimic.nets.package import Training, package
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from aimic.ports.events import Events
from services.inference.app import Service, service
from services.inference.settings import Settings
from tests.unit.services.inference.calling import client

CLASSES = ("round", "lobed", "granular")


class Shelf:
    """A registry: a list of versions and their exported bundles. It can be away."""

    def __init__(self) -> None:
        self.entries: list[ServingEntry] = []
        self.files: dict[str, Path] = {}
        self.away = False
        self.busy = False
        """Lists what is to be served, but hands out no bundle just now."""
        self.gate: asyncio.Event | None = None
        """Bundles are handed out once it is set."""
        self.downloads = 0
        routes = [Route("/api/v1/serving", self._serving), Route("/bundles/{hash}", self._bundle)]
        self.app = Starlette(routes=routes)

    def put(self, name: str, version: int, file: Path, digest: str, stage: str = "serving") -> None:
        """Register a version."""
        self.files[digest] = file
        self.entries.append(
            ServingEntry(
                name=name,
                version=version,
                bundle_hash=digest,
                stage=Stage(stage),
                bundle_url=f"/bundles/{digest}",
            )
        )

    def stage(self, version: int, stage: str) -> None:
        """Move a version."""
        self.entries = [
            entry.model_copy(update={"stage": Stage(stage)}) if entry.version == version else entry
            for entry in self.entries
        ]

    def http(self) -> httpx.AsyncClient:
        """A client of this registry."""
        return httpx.AsyncClient(transport=_MayBeAway(self), base_url="http://registry")

    async def _serving(self, _: Request) -> Response:
        return JSONResponse({"items": [entry.model_dump(mode="json") for entry in self.entries], "next": None})

    async def _bundle(self, request: Request) -> Response:
        if self.busy:
            return Response(status_code=503)
        self.downloads += 1
        if self.gate is not None:
            await self.gate.wait()
        path = self.files[request.path_params["hash"]]
        return FileResponse(path) if path.exists() else Response(status_code=404)


class _MayBeAway(httpx.ASGITransport):
    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf.app)
        self._shelf = shelf

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._shelf.away:
            raise httpx.ConnectError("connection refused", request=request)
        return await super().handle_async_request(request)


class Exported:
    """A bundle as the registry hands it out."""

    def __init__(self, directory: Path, seed: int, side: int, thresholds: dict[str, float] | None) -> None:
        net = build("shufflenet_v2_x1_0", len(CLASSES), side, Weights.none(), seed=seed)
        with torch.no_grad():
            net.head.weight.mul_(40)  # random networks hardly tell pictures apart; this one must
        self.directory = directory / "made"
        self.hash = package(
            self.directory,
            net,
            Training(
                classes=CLASSES,
                manifest_hash="ab" * 32,
                membership=(Member(sha256="cd" * 32, phash="0123456789abcdef", fold=0),),
                split={"k": 5},
                settings={"seed": seed},
                metrics={"pooled": {"n": 9, "accuracy": 0.9}},
                class_mix=(3, 3, 3),
                temperature=Temperature(value=2.0, fitted=True, images=60),
                thresholds=thresholds,
            ),
        )
        self.file = directory / "bundle.tar"
        bundle.export(self.directory, self.file)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """Makes an exported bundle (64 px); the same seed gives the same one."""
    made: dict[Any, Exported] = {}

    def make(seed: int = 1, side: int = 64, thresholds: dict[str, float] | None = None) -> Exported:
        key = (seed, side, str(thresholds))
        if key not in made:
            made[key] = Exported(tmp_path_factory.mktemp("export"), seed, side, thresholds)
        return made[key]

    return make


def picture(number: int, side: int = 80, kind: str = "PNG") -> bytes:
    """A drawn picture, another for each number."""
    rng = np.random.default_rng(number)
    blocks = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize((side, side), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@pytest.fixture(name="picture", scope="session")
def picture_fixture() -> Callable[..., bytes]:
    return picture


@pytest.fixture
def shelf(export: Callable[..., Exported]) -> Shelf:
    """A registry with one model `cells`, version 1."""
    shelf = Shelf()
    first = export(1)
    shelf.put("cells", 1, first.file, first.hash)
    return shelf


def no_events() -> Events:
    """Events that are away: polling must do."""
    raise UnavailableError("no broker here")


Running = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture(scope="session")
def running() -> Running:
    """Starts the parts of the service against a shelf, and stops them."""

    @asynccontextmanager
    async def start(home: Path, shelf: Shelf, **settings: Any) -> AsyncIterator[Service]:
        named = {f"inference_{key}": value for key, value in settings.items()}
        chosen = Settings(home=home, **({"inference_decoders": 1, "inference_poll_s": 0.05} | named))
        async with service(chosen, predictor=LocalPredictor(threads=1), events=no_events, http=shelf.http()) as parts:
            yield parts

    return start


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that will be so; fail when it isn't."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(name="until", scope="session")
def until_fixture() -> Callable[..., Any]:
    return until


@pytest.fixture(scope="session")
def shelf_class() -> type[Shelf]:
    """For tests that share a service and so need their own registry."""
    return Shelf


@pytest.fixture(scope="module")
async def parts(
    tmp_path_factory: pytest.TempPathFactory, running: Running, export: Callable[..., Exported]
) -> AsyncIterator[Service]:
    """A service with two versions of `cells`, the second not loaded yet, and narrow limits; one for each file."""
    shelf = Shelf()
    for version, stage in ((1, "serving"), (2, "candidate")):
        made = export(version)
        shelf.put("cells", version, made.file, made.hash, stage)
    home = tmp_path_factory.mktemp("home")
    limits = {"image_bytes": 100_000, "request_bytes": 400_000, "request_images": 20, "body_bytes": 800_000}
    async with running(home, shelf, **limits) as parts:
        await until(lambda: parts.reconciler.not_ready() is None)
        yield parts


@pytest.fixture
async def http(parts: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of `parts`."""
    async with client(parts, parts.settings) as http:
        yield http
