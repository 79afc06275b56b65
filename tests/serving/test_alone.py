"""A pod goes on serving while ingest, Kafka and S3 are away, also after it was killed itself."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from aimic.client import Client
from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from tests.servers.behind import Service, until
from tests.serving.callers import Said, over_grpc, over_rest
from tests.serving.versions import PICTURES, Version, picture

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]  # the servers' start counts too
BACK_S = 60.0
AWAY = 'aimic_inference_server_up{server="ingest"}'


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[Kafka]:
    """A broker that may be killed."""
    with Kafka(tmp_path / "kafka") as server:
        yield server


@pytest.fixture
def minio(tmp_path: Path) -> Iterator[Minio]:
    """A store that may be killed."""
    with Minio(tmp_path / "minio") as server:
        yield server


def test_a_pod_serves_alone_and_takes_up_what_it_missed(
    processes: Callable[..., tuple[Service, Service]],
    publish: Callable[[Service, Service], None],
    versions: Mapping[int, Version],
    kafka: Kafka,
    minio: Minio,
) -> None:
    ingest, pod = processes(**kafka.environment(), **minio.environment())
    publish(ingest, pod)
    _all_right(pod, versions, pinned=2)  # which fetches version 2

    for server in (kafka, minio, ingest):
        server.kill()
    until(lambda: pod.gauge(AWAY) == 0, BACK_S, "it sees that ingest is away")
    _all_right(pod, versions, pinned=2)
    pod.kill()
    pod.start()
    _all_right(pod, versions, pinned=2)
    assert pod.ops("/readyz").is_success

    pod.kill()
    for server in (kafka, minio, ingest):
        server.start()
    with Client(ingest.url) as client:
        client.models.promote("cells", 2)
    ingest.kill()
    pod.start()
    assert _ask(pod, 0, None).version == 1  # its last word, since nobody told it of another
    ingest.start()
    until(lambda: _ask(pod, 0, None).version == 2, BACK_S, "it takes up the promotion that it missed")
    _all_right(pod, versions, pinned=1)


def _all_right(pod: Service, versions: Mapping[int, Version], pinned: int) -> None:
    """The version that serves and a pinned one answer every picture as they must."""
    for number in range(PICTURES):
        for wish in (None, pinned):
            said = _ask(pod, number, wish)
            assert said.version == (wish or 3 - pinned)
            assert versions[said.version].wrong(number, said.bundle_hash, said.probabilities) is None


def _ask(pod: Service, number: int, version: int | None) -> Said:
    """Over REST and gRPC by turns."""
    with over_rest(pod.port) if number % 2 else over_grpc(pod.grpc_port) as ask:
        return ask(picture(number), version)
