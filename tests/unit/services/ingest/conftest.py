"""Ingest on files and SQLite in a temporary directory, composed as in the product but without an event log."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from aimic import wiring
from aimic.adapters.local_blobs import LocalBlobs
from aimic.adapters.sqlite_events import SqliteEvents
from aimic.auth import Authenticator
from aimic.events import Message
from aimic.ports.events import Delivery, Subscription
from services.ingest import app as ingest_app
from services.ingest.database import Database
from services.ingest.dependencies import Ingest
from services.ingest.progress import Signals
from services.ingest.records import Base
from services.ingest.settings import Settings
from services.ingest.workers import Workers
from tests.unit.services.ingest.scene import MovableClock, Scene

MakeParts = Callable[..., Ingest]
MakeClient = Callable[..., TestClient]


class Silence:
    """An event log that nobody listens to: what these tests look at is in the records."""

    def publish(self, message: Message) -> None:
        """Nobody hears it."""

    def subscribe(self, topics: tuple[str, ...], group: str) -> Subscription:
        """Nobody asks."""
        raise NotImplementedError

    def poll(self, timeout_s: float) -> list[Delivery]:
        """Nothing."""
        return []

    def losses(self) -> int:
        """None."""
        return 0

    def ping(self) -> None:
        """Always there."""

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def records_settings() -> dict[str, Any]:
    """Settings of the records: a file of its own. tests/servers/records has another answer, and the same tests."""
    return {}


@pytest.fixture
def make_parts(tmp_path: Path, records_settings: dict[str, Any]) -> Iterator[MakeParts]:
    """`make_parts(**settings)`: a process's parts; each call is another process on the same home."""
    made: list[Ingest] = []

    def make(**settings: Any) -> Ingest:
        chosen = Settings(home=tmp_path / "home", **({"ingest_workers": False} | records_settings | settings))
        signals, workers = Signals(), Workers()
        database = Database.of(chosen, notify=signals.notify)
        if not database.shared:
            Base.metadata.create_all(database.engine)
        blobs = wiring.blobs(chosen)
        assert isinstance(blobs, LocalBlobs)
        made.append(
            Ingest(
                settings=chosen,
                database=database,
                blobs=blobs,
                events=Silence(),
                authenticator=Authenticator(chosen),
                signals=signals,
                workers=workers,
            )
        )
        return made[-1]

    yield make
    for parts in made:
        parts.database.close()


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """`make_client(parts, *routers)`: a client of the application over these parts."""
    with contextlib.ExitStack() as stack:

        def make(parts: Ingest, *routers: APIRouter) -> TestClient:
            app = ingest_app.create_app(parts, routers)
            return stack.enter_context(TestClient(app, "http://localhost", raise_server_exceptions=False))

        yield make


@pytest.fixture
def scene(make_parts: MakeParts, make_client: MakeClient, tmp_path: Path) -> Iterator[Scene]:
    """Ingest with a data set `cells` of 12 images in two classes, real events, and a clock to move."""
    clock, plain = MovableClock(), make_parts()
    database = Database.of(plain.settings, clock, notify=plain.signals.notify)
    parts = replace(plain, database=database, events=SqliteEvents(tmp_path / "events.db"))
    made = Scene(parts, make_client(parts, *ingest_app.ROUTERS), clock)
    made.seed()
    yield made
    database.close()
    parts.events.close()
