"""Composition, nothing else: the parts of the process, and the application that they make."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI

from aimic import wiring
from aimic.auth import Authenticator
from aimic.web import RequestContext, install_problem_handlers
from services.ingest.audit import routes as audit
from services.ingest.database import Database
from services.ingest.datasets import routes as datasets
from services.ingest.dependencies import Ingest
from services.ingest.evaluations import routes as evaluations
from services.ingest.imports import routes as imports
from services.ingest.imports.worker import ImportWorker
from services.ingest.jobs import routes as jobs
from services.ingest.limits import BodyLimit
from services.ingest.models import routes as models
from services.ingest.progress import Signals
from services.ingest.relay import Relay
from services.ingest.settings import Settings
from services.ingest.tasks import routes as tasks
from services.ingest.tasks.sweeper import Sweeper as TaskSweeper
from services.ingest.uploads import routes as uploads
from services.ingest.uploads.service import Sweeper as UploadSweeper
from services.ingest.weights import routes as weights
from services.ingest.workers import Worker, Workers

PREFIX = "/api/v1"
TITLE, VERSION = "AIMIC ingest", "1"

ROUTERS: tuple[APIRouter, ...] = (
    uploads.router,
    imports.router,
    datasets.router,
    weights.router,
    jobs.router,
    tasks.router,
    models.router,
    evaluations.router,
    audit.router,
)
"""One per feature; paths below PREFIX."""
WORKERS: tuple[Callable[[Ingest], Worker], ...] = (Relay, TaskSweeper, ImportWorker, UploadSweeper)
"""Background work of this process."""


def compose(settings: Settings) -> Ingest:
    """The parts, from the settings."""
    signals, workers = Signals(), Workers()

    def notify(key: str) -> None:
        signals.notify(key)
        workers.wake(key)

    return Ingest(
        settings=settings,
        database=Database(settings.records_url, notify=notify),
        blobs=wiring.blobs(settings),
        events=wiring.events(settings),
        authenticator=Authenticator(settings),
        signals=signals,
        workers=workers,
    )


def create_app(ingest: Ingest, routers: Sequence[APIRouter] = ROUTERS) -> FastAPI:
    """The application over these parts; its background work runs between startup and shutdown."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if ingest.settings.ingest_workers:
            for worker in WORKERS:
                ingest.workers.add(worker(ingest))
            ingest.workers.start()
        yield
        ingest.signals.stop()
        ingest.workers.stop()

    app = FastAPI(
        title=TITLE,
        version=VERSION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.ingest = ingest
    for router in routers:
        app.include_router(router, prefix=PREFIX)
    install_problem_handlers(app, "ingest")
    app.add_middleware(BodyLimit, limit=ingest.settings.ingest_body_limit, exempt=f"{PREFIX}/uploads")
    app.add_middleware(RequestContext, service="ingest")
    return app


def openapi() -> dict[str, Any]:
    """The OpenAPI document, without anything opened: committed as docs/openapi/ingest.json, checked for drift."""
    app = FastAPI(title=TITLE, version=VERSION)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    return app.openapi()
