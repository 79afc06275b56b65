"""Work that runs while a server goes away waits for it, and goes on by itself to a good end."""

import time
from collections.abc import Iterator

import pytest

from aimic.client import Client
from aimic.domain.dataset import Import, ImportStatus
from aimic.domain.job import Job, JobRequest, Status, TrainSettings
from aimic.domain.split import SplitRequest
from tests.faults.pictures import archive
from tests.servers.behind import Behind, Service, until
from tests.servers.conftest import SHORT_LEASE

pytestmark = pytest.mark.servers

AWAY_S = 7.0
"""Longer than a lease."""


@pytest.fixture
def trainer(behind: Behind, ingest: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environment = behind.environment | SHORT_LEASE | {"AIMIC_INGEST_URL": ingest.url, "AIMIC_TRAINER_POLL_S": "2"}
    with Service("trainer", tmp_path_factory.mktemp("trainer"), environment) as service:
        yield service


@pytest.fixture
def client(ingest: Service) -> Iterator[Client]:
    with Client(ingest.url) as made:
        yield made


def _epochs(client: Client, job: Job) -> int:
    return sum(event.kind == "epoch" for event in client.jobs.progress(job.id))


def _imported(client: Client, state: Import) -> Import:
    def over() -> Import | None:
        found = client.datasets.show_import(state.id)
        return found if found.status in {ImportStatus.DONE, ImportStatus.FAILED} else None

    ended: Import = until(over, 60, "the import ends")
    return ended


@pytest.mark.long
def test_an_import_and_a_job_outlast_every_server(behind: Behind, trainer: Service, client: Client) -> None:
    assert client.datasets.import_(archive("work", 20).data, "work").status is ImportStatus.DONE
    settings = TrainSettings(
        networks=("shufflenet_v2_x1_0",), split=SplitRequest(kind="kfold", k=2), epochs=6, batch_size=4,
        image_size=64, threads=1, augment="none",
    )  # fmt: skip
    job = client.jobs.create(JobRequest(dataset="work", model="outlasted", settings=settings))
    upload = client.uploads.send(archive("more", 5).data)

    behind.objects.cut()
    more = client.datasets.start_import([upload.id], "more")
    waiting = until(lambda: (found := client.datasets.show_import(more.id)).error and found, 30, "the import waits")
    assert waiting.phase == "waiting" and "tries again" in waiting.error and "object store" in waiting.error
    time.sleep(AWAY_S)
    assert not client.jobs.show(job.id).status.over
    behind.objects.heal()
    assert _imported(client, more).stored == 10
    until(lambda: _epochs(client, job) > 0, 90, "the job trains")

    done = _epochs(client, job)
    behind.records.cut()
    time.sleep(AWAY_S)
    behind.records.heal()
    until(lambda: _epochs(client, job) > done, 60, "the job trains on")

    behind.events.cut()
    ended: Job = until(lambda: (found := client.jobs.show(job.id)).status.over and found, 120, "the job ends")
    assert ended.status is Status.DONE and ended.models, ended.error
    assert all(task.status is Status.DONE for task in ended.tasks)


def test_messages_wait_in_bounds_for_the_broker_and_are_published_by_themselves(
    behind: Behind, ingest: Service, client: Client
) -> None:
    name = "aimic_ingest_outbox_messages"
    until(lambda: ingest.gauge(name) == 0, 60, "nothing is left to publish")
    with Client(ingest.url) as other:
        if "work" not in {found.name for found in other.datasets.list()}:
            other.datasets.import_(archive("work", 20).data, "work")
    behind.events.cut()
    settings = TrainSettings(networks=("shufflenet_v2_x1_0",), split=SplitRequest(kind="kfold", k=5), epochs=1)
    started = time.monotonic()
    job = client.jobs.create(JobRequest(dataset="work", settings=settings))
    assert time.monotonic() - started < 5, "starting a job doesn't wait for the broker"

    def waiting() -> float | None:  # None when the records didn't answer in time
        return found if (found := ingest.gauge(name)) is not None and found >= 5 else None

    before: float = until(waiting, 20, "the messages wait")
    time.sleep(6)
    assert until(waiting, 20, "they still wait") <= before + 5, "what waits doesn't grow by waiting"
    behind.events.heal()
    until(lambda: ingest.gauge(name) == 0, 60, "they are published")
    assert client.jobs.cancel(job.id).status is Status.CANCELLED
