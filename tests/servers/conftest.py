"""The servers behind proxies, and an ingest that uses them so."""

from collections.abc import Iterator

import pytest

from aimic.adapters.kafka_config import Cluster, cluster_of
from aimic.adapters.kafka_events import KafkaEvents
from aimic.settings import Settings
from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.postgres import Postgres
from tests.servers.behind import Behind, Service, proxied, until

SHORT_LEASE = {"AIMIC_LEASE_S": "6"}


@pytest.fixture(scope="session")
def _behind(postgres_server: Postgres, kafka_server: Kafka, minio_server: Minio) -> Iterator[Behind]:
    with proxied(postgres_server, kafka_server, minio_server) as made:
        yield made


@pytest.fixture(scope="session")
def _ingest(_behind: Behind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service("ingest", tmp_path_factory.mktemp("ingest"), _behind.environment | SHORT_LEASE) as service:
        yield service


@pytest.fixture
def behind(_behind: Behind, _ingest: Service) -> Iterator[Behind]:
    """The three proxies; afterwards everything is as if nothing had been."""
    yield _behind
    _behind.heal()
    until(lambda: "away" not in _ingest.ops("/readyz").json(), 30, "everything is back")


@pytest.fixture
def ingest(behind: Behind, _ingest: Service) -> Service:
    """The ingest behind them."""
    return _ingest


@pytest.fixture
def cluster(kafka_server: Kafka) -> Cluster:
    """How the real broker is reached."""
    return cluster_of(Settings(events_url=kafka_server.url))


@pytest.fixture
def events(cluster: Cluster) -> Iterator[KafkaEvents]:
    """Its log, with all topics made."""
    made = KafkaEvents(cluster)
    made.ping()
    yield made
    made.close()
