"""Several trainers on the real servers: whatever becomes of them, folds are counted once and the model is the same."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from aimic.client import Client
from aimic.domain.job import Job, ProgressKind
from benchmarks.stack import OFTEN, Held, Stack, kill, result_of, small_job, start_job, until
from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.postgres import Postgres
from services.local.servers.together import Servers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]
LEASE_S = 10
EPOCHS = 12
SETTINGS = small_job(split={"kind": "kfold", "k": 3}, epochs=EPOCHS)
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def stack(
    postgres_server: Postgres, kafka_server: Kafka, minio_server: Minio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Two replicas of ingest, and images at both sites."""
    servers = Servers(postgres_server, kafka_server, minio_server)
    with Stack(tmp_path_factory.mktemp("stack"), servers, ingests=2, AIMIC_LEASE_S=str(LEASE_S), **OFTEN) as made:
        for site in ("north", "south"):
            with made.client(site) as client:
                made.import_cells(client)
        yield made


@pytest.fixture
def start(stack: Stack) -> Iterator[Start]:
    """Start a trainer; at the end none is left."""
    started: list[subprocess.Popen[bytes]] = []

    def make(name: str, ingest: int = 0) -> subprocess.Popen[bytes]:
        started.append(stack.start_trainer(name, ingest))
        return started[-1]

    yield make
    for process in started:
        kill(process)


@pytest.fixture
def north(stack: Stack) -> Iterator[Client]:
    """A client of the first site."""
    with stack.client("north") as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(stack: Stack) -> dict[str, Any]:
    """What one trainer alone makes of the job."""
    trainer = stack.start_trainer("alone")
    with stack.client("north") as client:
        result = result_of(client, start_job(client, SETTINGS, "alone"))
    kill(trainer)
    return result


def _folds(stack: Stack, job: Job) -> list[Held]:
    return [task for task in stack.tasks(job) if "/fold/" in task.key]


def _held_by(stack: Stack, job: Job, name: str, saved: bool = True) -> Held | None:
    """The fold that this trainer holds, with a checkpoint that counts."""
    held = (task for task in _folds(stack, job) if task.status == "running" and task.holder == name)
    return next((task for task in held if not saved or task.step is not None), None)


def _now(stack: Stack, job: Job, before: Held) -> Held:
    return next(task for task in stack.tasks(job) if task.key == before.key)


def _told(client: Client, job: Job) -> dict[str, Counter[int]]:
    """How often each epoch of a fold was told, by the fold's key."""
    keys = {task.id: task.key for task in job.tasks if "/fold/" in task.key}
    told = {key: Counter[int]() for key in keys.values()}
    for event in client.jobs.progress(job.id):
        if event.kind is ProgressKind.EPOCH and event.task_id in keys:
            told[keys[event.task_id]][event.data["epoch"]] += 1
    return told


def _once() -> Counter[int]:
    return Counter(range(1, EPOCHS + 1))


def test_k_folds_run_on_k_trainers_at_once_and_give_the_model_that_one_gives(
    stack: Stack, north: Client, undisturbed: dict[str, Any], start: Start
) -> None:
    names = {f"of-three-{number}" for number in range(3)}
    trainers = {name: start(name, number) for number, name in enumerate(sorted(names))}
    for name, trainer in trainers.items():  # else the first may be done with its fold before the last has begun
        stack.await_trainer(name, trainer)
    job = start_job(north, SETTINGS, "three")
    until("three at once", lambda: {t.holder for t in _folds(stack, job) if t.status == "running"} == names)
    assert result_of(north, job) == undisturbed
    assert all(task.fence == 1 for task in stack.tasks(job))
    assert list(_told(north, job).values()) == [_once()] * 3


def test_two_sites_share_two_trainers(stack: Stack, north: Client, undisturbed: dict[str, Any], start: Start) -> None:
    with stack.client("south") as south:
        jobs = {"north": start_job(north, SETTINGS, "shared"), "south": start_job(south, SETTINGS, "shared")}
        started: list[str] = []
        for number in range(2):
            start(f"shared-{number}", number)
        while not all(task.status == "done" for task in stack.tasks() if task.job in {j.id for j in jobs.values()}):
            now = stack.tasks()
            running = Counter(task.site for task in now if task.status == "running")
            ready = Counter(task.site for task in now if task.status == "ready")
            for one, other in (("north", "south"), ("south", "north")):
                assert not (running[one] == 2 and ready[other]), f"{other} waits while {one} has both trainers"
            started.append("/".join(sorted(running)))
            assert not any(task.status == "failed" for task in now)
            time.sleep(0.1)
        assert "north/south" in started
        assert result_of(south, jobs["south"]) == result_of(north, jobs["north"]) == undisturbed


@pytest.mark.long
def test_a_killed_trainer_s_fold_goes_on_elsewhere_from_its_checkpoint(
    stack: Stack, north: Client, undisturbed: dict[str, Any], start: Start
) -> None:
    victim = start("victim")
    job = start_job(north, SETTINGS, "killed")
    held = until("a checkpoint", lambda: _held_by(stack, job, "victim"))
    kill(victim)
    start("heir", 1)
    assert result_of(north, job) == undisturbed
    after = _now(stack, job, held)
    assert (after.fence, after.holder) == (2, "heir")
    assert list(_told(north, job).values()) == [_once()] * 3


def test_a_trainer_that_is_asked_to_end_hands_back_what_it_has(
    stack: Stack, north: Client, undisturbed: dict[str, Any], start: Start
) -> None:
    polite = start("polite")
    job = start_job(north, SETTINGS, "handed-back")
    held = until("a fold begins", lambda: _held_by(stack, job, "polite", saved=False))
    until("an epoch is told", lambda: _told(north, job)[held.key])
    polite.send_signal(signal.SIGTERM)
    assert polite.wait(25) == 0
    after = _now(stack, job, held)
    if after.status != "done":  # it may have ended in that moment
        assert (after.status, after.attempt, after.holder) == ("ready", 0, None)
        assert after.step is not None
    start("next", 1)
    assert result_of(north, job) == undisturbed
    assert list(_told(north, job).values()) == [_once()] * 3


@pytest.mark.long
def test_ingest_may_be_away_for_longer_than_a_lease(
    stack: Stack, north: Client, undisturbed: dict[str, Any], start: Start
) -> None:
    start("patient")
    job = start_job(north, SETTINGS, "alone-for-a-while")
    held = until("a fold begins", lambda: _held_by(stack, job, "patient", saved=False))
    for process in stack.ingests:
        kill(process)
    time.sleep(LEASE_S + 2)
    stack.ingests = [stack.start_ingest(number) for number in range(2)]
    start("idle", 1)  # waits for work all the time, and may not be given this
    assert result_of(north, job) == undisturbed
    assert (_now(stack, job, held).fence, _now(stack, job, held).holder) == (1, "patient")
    assert list(_told(north, job).values()) == [_once()] * 3


@pytest.mark.long
def test_a_trainer_that_slept_beyond_its_lease_drops_its_work(
    stack: Stack, north: Client, undisturbed: dict[str, Any], start: Start
) -> None:
    sleeper = start("sleeper")
    job = start_job(north, SETTINGS, "slept")
    held = until("a fold begins", lambda: _held_by(stack, job, "sleeper", saved=False))
    family = [psutil.Process(sleeper.pid), *psutil.Process(sleeper.pid).children(recursive=True)]
    for process in family:
        process.suspend()
    start("awake", 1)
    until("another has it", lambda: _now(stack, job, held).fence == 2)
    for process in family:
        process.resume()
    until("it is dropped", lambda: "no longer ours" in stack.log("sleeper"))
    assert result_of(north, job) == undisturbed
    assert _now(stack, job, held).fence == 2
    assert list(_told(north, job).values()) == [_once()] * 3
