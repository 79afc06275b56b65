"""What tests of the whole share: a platform of its own on free ports in a temporary home, and the real servers.

How to use the servers stands in services/local/servers/__init__.py. They are installed when missing, started when a
test first asks, and shared by the session; what is missing fails, nothing is skipped.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from aimic.client import Client
from services.local.platform import Platform
from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.ports import free_ports
from services.local.servers.postgres import Postgres
from services.local.servers.together import Servers
from services.local.settings import LocalSettings


@pytest.fixture(scope="session", autouse=True)
def eager_torch() -> Iterator[None]:
    """Nothing is tried or measured for the many small models of the tests; those of executors ask for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIMIC_INFERENCE_EXECUTOR", "eager")
        patch.setenv("AIMIC_TRAINER_EXECUTORS", "none")
        yield


@pytest.fixture(scope="session")
def local_settings() -> Callable[..., LocalSettings]:
    """Settings for a platform on a home, every port free."""

    def make(home: Path, **more: object) -> LocalSettings:
        names = list(LocalSettings.model_validate({"home": home, **more}).ports())
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        return LocalSettings.model_validate({"home": home, **ports, **more})

    return make


@pytest.fixture(scope="session")
def platform(
    local_settings: Callable[..., LocalSettings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """One running platform for all tests that only use it."""
    with Platform(local_settings(tmp_path_factory.mktemp("home")), quiet=True) as running:
        yield running


@pytest.fixture(scope="session")
def client(platform: Platform) -> Iterator[Client]:
    """The Python client of that platform, through the front."""
    with Client(platform.settings.front_url) as made:
        yield made


@pytest.fixture(scope="session")
def command_of() -> Callable[[psutil.Process], list[str]]:
    """The command line of a process; nothing of one that has just ended."""

    def command(process: psutil.Process) -> list[str]:
        try:
            return process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return []

    return command


@pytest.fixture(scope="session")
def has_ended() -> Callable[[psutil.Process], bool]:
    """Whether a process is over; one whose parent has not asked for its end yet is over, too."""

    def ended(process: psutil.Process) -> bool:
        try:
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:  # it went between the two questions
            return True

    return ended


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The session's PostgreSQL."""
    with Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The session's broker."""
    with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    """The session's S3 store."""
    with Minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def servers(postgres_server: Postgres, kafka_server: Kafka, minio_server: Minio) -> Servers:
    """All three of the session as one."""
    return Servers(postgres_server, kafka_server, minio_server)
