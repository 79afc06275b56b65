"""Uploads over two replicas of ingest, on PostgreSQL and MinIO: state is in the records, bytes are objects."""

import hashlib
import io
import os
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from aimic import wiring
from benchmarks.drawn import KINDS, png
from services.ingest.database import Database
from services.ingest.settings import Settings
from services.ingest.uploads.service import open_upload
from services.local.servers.minio import Minio
from services.local.servers.postgres import Postgres
from services.local.servers.together import fields
from tests.servers.behind import Service

pytestmark = [pytest.mark.servers, pytest.mark.timeout(400)]
TUS = {"tus-resumable": "1.0.0"}
Environment = dict[str, str]


@pytest.fixture(scope="module")
def environment(
    postgres_server: Postgres, minio_server: Minio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    with postgres_server.fresh_database() as database:
        events = {"AIMIC_EVENTS_URL": f"sqlite:///{tmp_path_factory.mktemp('events')}/events.db"}
        yield {**database.environment(), **minio_server.environment(bucket=None), **events}


@pytest.fixture(scope="module")
def replicas(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    home = tmp_path_factory.mktemp("replicas")
    with Service("ingest", home / "a", environment) as first, Service("ingest", home / "b", environment) as second:
        yield first, second


def _create(replica: Service, length: int, **metadata: str) -> str:
    told = ",".join(f"{name} {b64encode(value.encode()).decode()}" for name, value in metadata.items())
    headers = TUS | {"upload-length": str(length)} | ({"upload-metadata": told} if told else {})
    answer = httpx.post(f"{replica.url}/api/v1/uploads", headers=headers, timeout=30)
    assert answer.status_code in {200, 201}, answer.text
    return answer.headers["location"]


def _patch(replica: Service, path: str, offset: int, data: bytes, **more: str) -> httpx.Response:
    headers = TUS | {"upload-offset": str(offset), "content-type": "application/offset+octet-stream"} | more
    return httpx.patch(f"{replica.url}{path}", headers=headers, content=data, timeout=60)


def _offset(replica: Service, path: str) -> int:
    return int(httpx.head(f"{replica.url}{path}", headers=TUS, timeout=30).headers["upload-offset"])


def _stored(environment: Environment, home: Path, path: str) -> bytes:
    settings = Settings.model_validate({"home": home, **fields(environment)})
    database = Database.of(settings)
    try:
        with database.read("local") as session:
            _, file = open_upload(session, wiring.blobs(settings), "local", path.rsplit("/", 1)[-1])
        with file:
            return file.read()
    finally:
        database.close()


def test_patches_alternate_between_replicas_and_outlive_a_kill_of_one(
    replicas: tuple[Service, Service], environment: Environment, tmp_path: Path
) -> None:
    data, step = os.urandom(9 << 20), (1 << 20) - 7
    path = _create(replicas[0], len(data))
    for number, begin in enumerate(range(0, len(data), step)):
        part = data[begin : begin + step]
        replica = replicas[number % 2]
        checksum = f"sha256 {b64encode(hashlib.sha256(part).digest()).decode()}"
        answer = _patch(replica, path, begin, part, **{"upload-checksum": checksum})
        assert (answer.status_code, int(answer.headers["upload-offset"])) == (204, begin + len(part))
        if number == 3:
            replica.kill()
            assert _offset(replicas[0], path) == begin + len(part), "the other one knows what was acknowledged"
            replica.start()
    assert _stored(environment, tmp_path, path) == data


def test_of_two_writers_at_once_one_wins_each_time_and_no_byte_is_lost(
    replicas: tuple[Service, Service], environment: Environment, tmp_path: Path
) -> None:
    rounds, size = 12, 5000
    path = _create(replicas[0], rounds * size)
    expected = b""
    for number in range(rounds):
        parts = [bytes([2 * number + which]) * size for which in range(2)]
        answers = _at_once(replicas, path, len(expected), parts)
        assert sorted(answer.status_code for answer in answers) == [204, 409]
        expected += parts[[answer.status_code for answer in answers].index(204)]
        assert {int(answer.headers["upload-offset"]) for answer in answers} == {len(expected)}
    assert _stored(environment, tmp_path, path) == expected


def _at_once(replicas: tuple[Service, Service], path: str, offset: int, parts: list[bytes]) -> list[httpx.Response]:
    start = threading.Barrier(2)

    def write(which: int) -> httpx.Response:
        start.wait()
        return _patch(replicas[which], path, offset, parts[which])

    with ThreadPoolExecutor(2) as writers:
        return list(writers.map(write, range(2)))


def test_two_creations_of_the_same_bytes_at_once_are_one_upload(replicas: tuple[Service, Service]) -> None:
    with ThreadPoolExecutor(4) as callers:
        for number in range(5):
            start = threading.Barrier(4)

            def create(which: int, start: threading.Barrier = start, number: int = number) -> str:
                start.wait()
                return _create(replicas[which % 2], 100, fingerprint=f"the same {number}")

            assert len(set(callers.map(create, range(4)))) == 1


def test_two_first_imports_into_one_data_set_both_come_in(replicas: tuple[Service, Service]) -> None:
    with ThreadPoolExecutor(2) as callers:
        results = list(callers.map(lambda which: _imported(replicas[which], _archive(4, which)), range(2)))
    assert [state["status"] for state in results] == ["done", "done"]
    assert [state["stored"] for state in results] == [4, 4]
    version = httpx.get(f"{replicas[0].url}/api/v1/datasets/twice", timeout=30).json()["latest"]
    assert sum(version["counts"]) == 8


def _archive(count: int, which: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for number in range(count):
            made.writestr(f"{KINDS[number % 2]}/{which}_{number}.png", png(100 * which + number))
    return out.getvalue()


def _imported(replica: Service, data: bytes) -> dict[str, object]:
    path = _create(replica, len(data), filename="cells.zip")
    assert _patch(replica, path, 0, data).status_code == 204
    wish = {"dataset": "twice", "uploads": [path.rsplit("/", 1)[-1]]}
    made = httpx.post(f"{replica.url}/api/v1/imports", json=wish, timeout=60)
    assert made.status_code == 202, made.text
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        state: dict[str, object] = httpx.get(f"{replica.url}/api/v1/imports/{made.json()['id']}", timeout=30).json()
        if state["status"] in {"done", "failed"}:
            return state
        time.sleep(0.2)
    raise AssertionError("the import did not end")
