"""A server is cut, hangs or is slow: every caller gets a plain 503 in time, and what doesn't need it goes on."""

import base64
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import make_url

from aimic.client import Client, Wait
from aimic.domain.dataset import ImportStatus
from services.local.servers.postgres import Postgres
from tests.faults.pictures import archive
from tests.servers.behind import Behind, Service, until

pytestmark = pytest.mark.servers

BOUND_S = 21.0
"""No caller waits longer, whatever hangs."""
TUS = {"tus-resumable": "1.0.0"}
UP = 'aimic_ingest_server_up{{server="{}"}}'


@pytest.fixture
def image(ingest: Service) -> str:
    """The path of a stored image."""
    with Client(ingest.url) as client:
        if "cells" not in {found.name for found in client.datasets.list()}:
            assert client.datasets.import_(archive("away", 3).data, "cells").status is ImportStatus.DONE
        sample = next(client.datasets.samples("cells", 1))
    return f"/api/v1/datasets/cells/samples/{sample.sha256}/image"


@pytest.fixture
def http(ingest: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ingest.url, timeout=60, trust_env=False) as made:
        yield made


def _begun(data: bytes) -> dict[str, str]:
    """What an upload is begun with."""
    mark = base64.b64encode(data[:20].hex().encode()).decode()
    return TUS | {"upload-length": str(len(data)), "upload-metadata": f"filename Yy56aXA=,fingerprint {mark}"}


def _upload(http: httpx.Client, data: bytes) -> str:
    """An upload, begun; its path."""
    return str(http.post("/api/v1/uploads", headers=_begun(data)).headers["location"])


def _patch(http: httpx.Client, path: str, data: bytes) -> httpx.Response:
    headers = TUS | {"upload-offset": "0", "content-type": "application/offset+octet-stream"}
    return http.patch(path, content=data, headers=headers)


def _refused(ask: Callable[[], httpx.Response], within_s: float = BOUND_S) -> httpx.Response:
    """The 503 that a caller gets, checked for its form and time."""
    started = time.monotonic()
    answer = ask()
    assert time.monotonic() - started < within_s
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    said = answer.json()
    assert said["code"] == "unavailable" and said["request_id"]
    assert said["detail"].endswith(".") and "Traceback" not in said["detail"] and "psycopg" not in said["detail"]
    return answer


def _on_time(ingest: Service, path: str) -> httpx.Response:
    """What the operations port answers within a second; one answer out of several, as a busy machine may be late."""
    answer: httpx.Response = until(lambda: ingest.ops(path), 10, f"{path} is answered within a second")
    assert answer.is_success
    return answer


def _alive(ingest: Service, server: str) -> None:
    """The operations port answers within a second, and comes to say which server is away."""
    _on_time(ingest, "/healthz")
    until(lambda: ingest.gauge(UP.format(server)) == 0, 20, f"{server} is said to be away")
    ready = _on_time(ingest, "/readyz")
    assert ready.status_code == 200 and server in ready.json()["away"]


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_without_records_everybody_is_told_and_the_process_lives(
    behind: Behind, ingest: Service, http: httpx.Client, how: str, image: str
) -> None:
    upload = _upload(http, f"records {how}".encode() * 3)
    getattr(behind.records, how)()
    asks: list[Callable[[], httpx.Response]] = [
        lambda: http.get("/api/v1/jobs"),
        lambda: http.get("/api/v1/serving"),
        lambda: http.get(image),
        lambda: http.get("/api/v1/jobs/none/events"),
        lambda: http.post("/api/v1/tasks/claim", json={"worker": "w", "kinds": ["fold"]}),
        lambda: _patch(http, upload, b"xyz"),
    ]
    with ThreadPoolExecutor(len(asks)) as pool:
        list(pool.map(_refused, asks))
        _alive(ingest, "records")
    behind.records.heal()
    until(lambda: http.get("/api/v1/jobs").status_code == 200, 10, "jobs are listed again")
    assert int(http.head(upload, headers=TUS).headers["upload-offset"]) in {0, 3}


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_without_objects_only_those_who_need_them_are_told(
    behind: Behind, ingest: Service, http: httpx.Client, how: str, image: str
) -> None:
    data = f"objects {how}".encode() * 3
    upload = _upload(http, data)
    getattr(behind.objects, how)()
    needs: list[Callable[[], httpx.Response]] = [
        lambda: http.get(image),
        lambda: http.get(image, params={"size": 64}),
        lambda: http.get("/api/v1/datasets/cells/versions/1/export"),
        lambda: _patch(http, upload, data),
    ]
    with ThreadPoolExecutor(len(needs)) as pool:
        told = pool.map(_refused, needs)
        for _ in range(20):
            started = time.monotonic()
            assert http.get("/api/v1/jobs").status_code == 200
            assert time.monotonic() - started < 5  # who waits for the store waits for at least 8
        list(told)
        _alive(ingest, "objects")
    behind.objects.heal()
    until(lambda: http.get(image).status_code == 200, 10, "images are shown again")
    assert _patch(http, upload, data).status_code == 204


_END_ALL = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"


def test_a_database_without_connections_to_spare_is_told(
    behind: Behind, ingest: Service, http: httpx.Client, postgres_server: Postgres
) -> None:
    database = str(make_url(behind.environment["AIMIC_RECORDS_URL"]).database)
    with postgres_server.administrator() as administrator:
        try:
            administrator.execute("ALTER ROLE aimic_app CONNECTION LIMIT 0")
            administrator.execute(_END_ALL, (database,))
            told = _refused(lambda: http.get("/api/v1/jobs"), 10)
            assert "more than they can answer" in told.json()["detail"]
            _on_time(ingest, "/healthz")
            _on_time(ingest, "/metrics")
        finally:
            administrator.execute("ALTER ROLE aimic_app CONNECTION LIMIT -1")
    until(lambda: http.get("/api/v1/jobs").status_code == 200, 10, "jobs are listed again")


def test_without_events_nobody_notices(behind: Behind, ingest: Service, http: httpx.Client) -> None:
    behind.events.cut()
    assert http.get("/api/v1/jobs").status_code == 200
    assert http.post("/api/v1/tasks/claim", json={"worker": "w", "kinds": ["fold"]}).status_code == 204
    _alive(ingest, "events")


def test_a_slow_store_and_a_hundred_callers_leave_room_for_the_others(
    behind: Behind, ingest: Service, http: httpx.Client, image: str
) -> None:
    behind.objects.slow(3000)
    with httpx.Client(
        base_url=ingest.url, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=100)
    ) as many:
        with ThreadPoolExecutor(100) as pool:
            asked = [pool.submit(many.get, image) for _ in range(100)]
            took = []
            while not all(future.done() for future in asked):
                started = time.monotonic()
                assert http.get("/api/v1/jobs").status_code == 200
                assert ingest.ops("/metrics", timeout_s=30).is_success
                took.append(time.monotonic() - started)
        answers = [future.result() for future in asked]
    # Nearly all, not each: a hundred threads of ours and a busy machine may keep one waiting.
    assert sorted(took)[len(took) * 3 // 4] < 3, f"a store that is slow kept others waiting: {took}"
    statuses = {status: sum(answer.status_code == status for answer in answers) for status in (200, 503)}
    assert statuses[200] >= 10 and statuses[200] + statuses[503] == 100, statuses
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 503)


def test_an_upload_whose_bytes_are_acknowledged_is_whole_whatever_broke(
    behind: Behind, ingest: Service, image: str
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target, zipfile.ZipFile(io.BytesIO(archive("whole", 40).data)) as cells:
        for name in cells.namelist():
            target.writestr(name, cells.read(name))
        target.writestr("ballast.txt", bytes(24 << 20))
    words: list[str] = []
    broken = iter((behind.objects.cut, behind.objects.heal, behind.records.cut, behind.records.heal))

    def breaks(done: int, total: int) -> None:
        if 0 < done < total:
            next(broken, lambda: None)()

    def heals(wait: Wait) -> None:
        words.append(wait.words)
        behind.heal()

    with Client(ingest.url) as client:
        upload = client.uploads.send(out.getvalue(), progress=breaks, waiting=heals)
        started = client.datasets.start_import([upload.id], "whole")
        assert list(client.datasets.watch_import(started.id))[-1].stored == 80
    assert any("is safe" in said and "Trying again in" in said for said in words), words
