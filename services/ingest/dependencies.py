"""What a route may ask for: the parts of this process, and a principal with a permission."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from aimic.auth import Authenticator, require
from aimic.domain.site import Permission, Principal
from aimic.ports.blobs import Blobs
from aimic.ports.events import Events
from services.ingest.database import Database
from services.ingest.progress import Signals
from services.ingest.settings import Settings
from services.ingest.workers import Workers


@dataclass(frozen=True)
class Ingest:
    """Everything that this process is made of; app.py composes it, tests compose their own."""

    settings: Settings
    database: Database
    blobs: Blobs
    events: Events
    authenticator: Authenticator
    signals: Signals = field(default_factory=Signals)
    workers: Workers = field(default_factory=Workers)


def ingest_of(request: Request) -> Ingest:
    """The parts of this process."""
    parts = request.app.state.ingest
    assert isinstance(parts, Ingest)
    return parts


Parts = Annotated[Ingest, Depends(ingest_of)]


def permitted(permission: Permission) -> Callable[..., Principal]:
    """A dependency that authenticates the caller and asks for `permission`:
    `principal: Annotated[Principal, Depends(permitted(Permission.JOBS_READ))]`."""

    def principal(request: Request, parts: Parts) -> Principal:
        caller = parts.authenticator.authenticate(request.headers)
        require(caller, permission)
        return caller

    principal.permission = permission  # type: ignore[attr-defined] # read by the test that every route declares one
    return principal


DatasetsReader = Annotated[Principal, Depends(permitted(Permission.DATASETS_READ))]
DatasetsWriter = Annotated[Principal, Depends(permitted(Permission.DATASETS_WRITE))]
JobsReader = Annotated[Principal, Depends(permitted(Permission.JOBS_READ))]
JobsWriter = Annotated[Principal, Depends(permitted(Permission.JOBS_WRITE))]
ModelsReader = Annotated[Principal, Depends(permitted(Permission.MODELS_READ))]
ModelsWriter = Annotated[Principal, Depends(permitted(Permission.MODELS_WRITE))]
ModelsPromoter = Annotated[Principal, Depends(permitted(Permission.MODELS_PROMOTE))]
TaskWorker = Annotated[Principal, Depends(permitted(Permission.TASKS_WORK))]
ServingReader = Annotated[Principal, Depends(permitted(Permission.SERVING_READ))]
ServingWriter = Annotated[Principal, Depends(permitted(Permission.SERVING_WRITE))]
