"""Records on the real PostgreSQL: each test has a migrated database of its own, and as many replicas as it asks for."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.ingest import app as ingest_app
from services.ingest.database import Database
from services.ingest.dependencies import Ingest
from services.ingest.migrate import migrate
from services.ingest.settings import Settings
from services.local.servers.postgres import Postgres, PostgresDatabase
from services.local.servers.together import fields
from tests.unit.services.ingest.conftest import make_client, make_parts, scene
from tests.unit.services.ingest.laboratory import children, draw, lab, make_lab, pack, sandbox

__all__ = ["children", "draw", "lab", "make_client", "make_lab", "make_parts", "pack", "sandbox", "scene"]


@pytest.fixture(scope="session")
def migrated(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresDatabase]:
    """A migrated database that nobody uses but to be copied."""
    with postgres_server.fresh_database() as made:
        database = Database.of(Settings(home=tmp_path_factory.mktemp("home"), **fields(made.environment())))
        migrate(database)
        database.close()
        yield made


@pytest.fixture
def records(postgres_server: Postgres, migrated: PostgresDatabase) -> Iterator[PostgresDatabase]:
    """A migrated database of this test's own."""
    with postgres_server.fresh_database(migrated.name) as made:
        yield made


@pytest.fixture
def records_settings(records: PostgresDatabase) -> dict[str, Any]:
    """Where ingest keeps its records."""
    return fields(records.environment())


@pytest.fixture
def replica(records_settings: dict[str, Any], tmp_path: Path) -> Iterator[Callable[..., Database]]:
    """`replica(notify=…, records_connections=…)`: the database as one more process sees it."""
    made: list[Database] = []

    def make(notify: Callable[[str], None] = lambda _: None, **more: Any) -> Database:
        made.append(Database.of(Settings(home=tmp_path, **(records_settings | more)), notify=notify))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postgres, Database]]:
    """A server that this test may stop, with migrated records."""
    with Postgres(tmp_path_factory.mktemp("own")) as server:
        settings = Settings(home=tmp_path_factory.mktemp("home"), **fields(server.environment()))
        database = Database.of(settings)
        migrate(database)
        yield server, database
        database.close()


@pytest.fixture
def clients(scene: Any, make_parts: Callable[..., Ingest], make_client: Callable[..., TestClient]) -> list[TestClient]:
    """The same records and objects through two replicas."""
    made = [scene.client, make_client(make_parts(), *ingest_app.ROUTERS)]
    for client in made:  # FastAPI makes its routes at the first question, which in a process comes from one thread
        assert client.get("/api/v1/nowhere").status_code == 404
    return made
