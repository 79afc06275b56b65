"""Composition, nothing else: the parts of the process, and the application that they make."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, FastAPI

from aimic import wiring
from aimic.adapters.bounded_blobs import BoundedBlobs
from aimic.auth import Authenticator
from aimic.web import RequestContext, install_problem_handlers
from services.ingest.admission import Admission
from services.ingest.audit import routes as audit
from services.ingest.database import Database
from services.ingest.datasets import routes as datasets
from services.ingest.dependencies import Ingest
from services.ingest.evaluations import routes as evaluations
from services.ingest.imports import routes as imports
from services.ingest.imports.worker import ImportWorker
from services.ingest.jobs import routes as jobs
from services.ingest.limits import BodyLimit
from services.ingest.listening import Listener
from services.ingest.models import routes as models
from services.ingest.progress import Signals
from services.ingest.relay import Relay
from services.ingest.settings import Settings
from services.ingest.tasks import routes as tasks
from services.ingest.tasks.presence import Presence
from services.ingest.tasks.sweeper import Sweeper as TaskSweeper
from services.ingest.uploads import routes as uploads
from services.ingest.uploads.exchange import TusExchange
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
WORKERS: tuple[Callable[[Ingest], Worker], ...] = (Presence, Relay, TaskSweeper, ImportWorker, UploadSweeper)
"""Background work of this process."""
THREADS = 64
"""For requests. The object store gets at most 31 of them (BoundedBlobs), event streams have their own (progress.py):
however slow one server is, what doesn't need it is answered."""
MOST_REQUESTS = 256
SLOW = re.compile(
    r"^POST .*/(jobs|weights|import|evaluate|finish|claim|objects)$"
    r"|^GET .*/(samples|export|bundle|claim)$"
    r"|^DELETE .*/uploads/"
)
"""Requests that may work through a whole data set, bundle or upload before they answer."""


def compose(settings: Settings) -> Ingest:
    """The parts, from the settings."""
    signals, workers = Signals(), Workers()

    def notify(key: str) -> None:
        signals.notify(key)
        workers.wake(key)

    return Ingest(
        settings=settings,
        database=Database.of(settings, notify=notify),
        blobs=wiring.blobs(settings),
        events=wiring.events(settings),
        authenticator=Authenticator(settings),
        signals=signals,
        workers=workers,
    )


def listener_of(ingest: Ingest) -> Listener:
    """Hears what other replicas announce, for this process's streams and workers."""

    def wake(key: str) -> None:
        ingest.signals.notify(key)
        ingest.workers.wake(key)

    def wake_all() -> None:
        ingest.signals.notify_all()
        ingest.workers.wake_all()

    return Listener(ingest.database, wake, wake_all)


def create_app(
    ingest: Ingest, routers: Sequence[APIRouter] = ROUTERS, away: Callable[[], bool] = lambda: False
) -> FastAPI:
    """The application over these parts; its background work runs between startup and shutdown.

    `away()` says whether a server that requests need is known to be away.
    """

    listener = listener_of(ingest)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        listener.start()
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        if ingest.settings.ingest_workers:
            for worker in WORKERS:
                ingest.workers.add(worker(ingest))
            ingest.workers.start()
        yield
        ingest.signals.stop()
        ingest.workers.stop()
        listener.stop()

    app = FastAPI(
        title=TITLE,
        version=VERSION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.ingest = replace(ingest, blobs=BoundedBlobs(ingest.blobs))
    for router in routers:
        app.include_router(router, prefix=PREFIX)
    install_problem_handlers(app, "ingest")
    app.add_middleware(TusExchange, prefix=f"{PREFIX}/uploads")
    app.add_middleware(BodyLimit, limit=ingest.settings.ingest_body_limit, exempt=f"{PREFIX}/uploads")
    app.add_middleware(Admission, service="ingest", most=MOST_REQUESTS, slow=SLOW, away=away)
    app.add_middleware(RequestContext, service="ingest")
    return app


def openapi() -> dict[str, Any]:
    """The OpenAPI document, without anything opened: committed as docs/openapi/ingest.json, checked for drift."""
    app = FastAPI(title=TITLE, version=VERSION)
    for router in ROUTERS:
        app.include_router(router, prefix=PREFIX)
    return app.openapi()
