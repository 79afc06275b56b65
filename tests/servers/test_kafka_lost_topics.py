"""Trainers that ask for work only when they are woken, on a broker of their own, so that nobody else wakes them."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import psutil
import pytest
from kafka.errors import RetriableError

from aimic.adapters.kafka_clients import administrator
from aimic.adapters.kafka_config import Cluster, cluster_of
from aimic.adapters.kafka_events import KafkaEvents
from aimic.client import Client
from aimic.events import TOPICS, TaskReady
from aimic.settings import Settings
from benchmarks.stack import OFTEN, Stack, kill, result_of, small_job, start_job, stop, until
from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.ports import free_ports
from services.local.servers.postgres import Postgres
from services.local.servers.together import Servers
from services.trainer.listener import GROUP

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
NEVER = {"AIMIC_TRAINER_POLL_S": "3600"}
POLL_S = 5.0
"""Ten times what a trainer takes between two questions, for a machine that stands still."""
IMPATIENT = f"""
import runpy
from aimic.adapters import kafka_subscription
kafka_subscription.POLL_S = {POLL_S}
runpy.run_module("services.trainer", run_name="__main__")
"""
FETCH_S = 1.0
"""Longer than the broker waits before it answers a question for messages with nothing."""
Start = Callable[[str], subprocess.Popen[bytes]]
CommandOf = Callable[[psutil.Process], list[str]]


class Impatient:
    """A trainer that loses its place in the group when it hasn't asked for POLL_S, and not only after a minute."""

    def __init__(self, stack: Stack, command_of: CommandOf) -> None:
        self._command_of = command_of
        (self._port,) = free_ports(1)
        own = {
            "AIMIC_HOME": str(stack.home / "impatient"),
            "AIMIC_TRAINER_OPS_PORT": str(self._port),
            "AIMIC_INGEST_URL": stack.url(),
        }
        with (stack.home / "impatient.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-c", IMPATIENT],
                env=stack.environment | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def lag(self) -> float | None:
        """Messages that it has yet to see to, as Prometheus is told."""
        answer = httpx.get(f"http://127.0.0.1:{self._port}/metrics", timeout=5, trust_env=False)
        name = f'aimic_events_lag_messages{{group="{GROUP}",topic="{TaskReady.topic}"}} '
        lines = answer.text.splitlines()
        return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), None)

    def child(self) -> psutil.Process | None:
        """The process of its task: one that has begun to be that. Held still before, it would hold its parent too."""
        children = psutil.Process(self.process.pid).children()
        return next((child for child in children if "services.trainer.child" in self._command_of(child)), None)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="module")
def stack(
    postgres_server: Postgres, kafka: Kafka, minio_server: Minio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    servers = Servers(postgres_server, kafka, minio_server)
    with Stack(tmp_path_factory.mktemp("stack"), servers, ingests=1, **OFTEN, **NEVER) as made:
        with made.client() as client:
            made.import_cells(client)
        yield made


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as made:
        yield made


@pytest.fixture
def start(stack: Stack) -> Iterator[Start]:
    """Start a trainer; at the end none is left, also not in the group."""
    started: list[subprocess.Popen[bytes]] = []

    def make(name: str) -> subprocess.Popen[bytes]:
        started.append(stack.start_trainer(name))
        return started[-1]

    yield make
    for process in started:
        psutil.Process(process.pid).resume()
    stop(started)


@pytest.fixture
def impatient(stack: Stack, command_of: CommandOf) -> Iterator[Impatient]:
    made = Impatient(stack, command_of)
    yield made
    if child := made.child():
        child.resume()
    kill(made.process)


@pytest.fixture
def cluster(kafka: Kafka) -> Cluster:
    return cluster_of(Settings(events_url=kafka.url))


def _members(cluster: Cluster) -> set[str]:
    """Of a group at rest; none while it deals its partitions, and before the broker has room for groups."""
    with administrator(cluster) as admin:
        try:
            group = admin.describe_groups([GROUP])[GROUP]
        except RetriableError:  # it isn't known yet who leads the group, or that one still reads of it
            return set()
    return {member["member_id"] for member in group["members"]} if group["group_state"] == "Stable" else set()


def _lose_topics(cluster: Cluster) -> None:
    names = [topic.name for topic in TOPICS]
    with administrator(cluster) as admin:
        # A trainer finds its own topic again before whoever publishes has seen to the others.
        until("all topics are there", lambda: set(names) <= set(admin.list_topics()))
        admin.delete_topics(names)


def _waiting(stack: Stack) -> int:
    """Messages that are not published yet."""
    with stack.servers.postgres.administrator(stack.database) as connection:
        (row,) = connection.execute("SELECT count(*) FROM outbox").fetchall()
    return int(row[0])


def test_with_all_topics_deleted_what_is_open_is_published_again_and_finishes(
    stack: Stack, client: Client, start: Start, cluster: Cluster
) -> None:
    trainers = [start(f"woken-{number}") for number in range(2)]
    until("both listen", lambda: len(_members(cluster)) == 2)
    for trainer in trainers:
        psutil.Process(trainer.pid).suspend()
    time.sleep(FETCH_S)
    job = start_job(client, small_job(epochs=2), "lost")
    until("all wake-ups are published, and none is heard", lambda: _waiting(stack) == 0)
    _lose_topics(cluster)
    assert {task.fence for task in stack.tasks(job)} == {0}
    for trainer in trainers:
        psutil.Process(trainer.pid).resume()
    until("a fold runs", lambda: any(task.status == "running" for task in stack.tasks(job)), 60)
    _lose_topics(cluster)
    assert result_of(client, job, 120)["hashes"]
    assert {task.fence for task in stack.tasks(job)} == {1}


def test_a_trainer_in_a_long_fold_keeps_its_place_and_hears_and_tells_how_far_behind_it_is(
    client: Client, impatient: Impatient, cluster: Cluster, events: KafkaEvents
) -> None:
    before = until("it listens", lambda: _members(cluster))
    start_job(client, small_job(), "long")
    until("a fold begins", impatient.child).suspend()  # and takes as long as we like
    ends = time.monotonic() + 2 * POLL_S
    while time.monotonic() < ends:
        assert _members(cluster) == before
        time.sleep(0.5)

    def behind() -> bool:
        events.publish(TaskReady(site="north", aggregate=uuid4().hex, sequence=1, kind="fold"))
        return bool(impatient.lag())

    until("it has something to read", behind, 20)
    until("it has read everything", lambda: impatient.lag() == 0.0, 20)
    assert _members(cluster) == before
