"""Claims on PostgreSQL by several replicas: no task twice, nobody waits for another's lock, and what is given away is
closed to whoever had it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from benchmarks.stack import Stack, small_job, start_job
from services.ingest.tasks.claiming import ANY_S
from services.local.servers.kafka import Kafka
from services.local.servers.minio import Minio
from services.local.servers.postgres import Postgres
from services.local.servers.together import Servers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
SETTINGS = small_job(split={"kind": "kfold", "k": 4})
Claim = Callable[..., dict[str, Any] | None]


@pytest.fixture(scope="module")
def stack(
    postgres_server: Postgres, kafka_server: Kafka, minio_server: Minio, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Two replicas of ingest, and images at both sites."""
    servers = Servers(postgres_server, kafka_server, minio_server)
    # Leases end here by our word alone, however long a busy machine takes.
    with Stack(tmp_path_factory.mktemp("stack"), servers, ingests=2, AIMIC_LEASE_S="250") as made:
        for site in ("north", "south"):
            with made.client(site) as client:
                made.import_cells(client)
        yield made


@contextmanager
def _jobs(stack: Stack) -> Iterator[dict[str, Any]]:
    """A job of each site, north's first; cancelled at the end."""
    with stack.client("north") as north, stack.client("south") as south:
        made = {"north": start_job(north, SETTINGS), "south": start_job(south, SETTINGS)}
        yield made
        north.jobs.cancel(made["north"].id)
        south.jobs.cancel(made["south"].id)


@pytest.fixture
def jobs(stack: Stack) -> Iterator[dict[str, Any]]:
    """The same for a test."""
    with _jobs(stack) as made:
        yield made


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    """With the platform's worker key."""
    key = (stack.home / "worker.key").read_text()
    with httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False) as made:
        yield made


@pytest.fixture
def claim(stack: Stack, http: httpx.Client) -> Claim:
    """Ask a replica for a task of any site."""

    def ask(replica: int = 0, worker: str = "w", **more: Any) -> dict[str, Any] | None:
        answer = http.post(f"{stack.url(replica)}/api/v1/tasks/claim", json={"worker": worker, **more})
        assert answer.status_code in {200, 204}, answer.text
        return dict(answer.json()) if answer.status_code == 200 else None

    return ask


def _call(stack: Stack, claim: dict[str, Any], verb: str, **body: Any) -> httpx.Response:
    return httpx.post(
        f"{stack.url(1)}/api/v1/tasks/{claim['task']['id']}/{verb}",
        json={"fence": claim["fence"], **body},
        headers={"authorization": f"Bearer {claim['token']}"},
        timeout=60,
        trust_env=False,
    )


def _get(stack: Stack, claim: dict[str, Any], what: str) -> httpx.Response:
    url = f"{stack.url(1)}/api/v1/tasks/{claim['task']['id']}/{what}"
    return httpx.get(url, headers={"authorization": f"Bearer {claim['token']}"}, timeout=60, trust_env=False)


def _write(stack: Stack, claim: dict[str, Any], step: int, data: bytes) -> dict[str, str]:
    """Put an object where ingest says; its key by name."""
    slot = _call(stack, claim, "objects", step=step, names=["state"]).json()["urls"]["state"]
    httpx.put(slot["put"], content=data, timeout=30, trust_env=False).raise_for_status()
    return {"state": slot["key"]}


def test_many_claims_at_once_are_all_served_and_never_with_the_same_task(
    stack: Stack, jobs: dict[str, Any], claim: Claim
) -> None:
    def served(number: int) -> dict[str, Any] | None:
        began = time.monotonic()
        found = claim(number % 2, f"w{number}")
        late = time.monotonic() - began > ANY_S  # where a replica stood still with a job's lock, a claim goes home
        return claim(number % 2, f"w{number}") if found is None and late else found

    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(served, range(8)))
    tasks = [found["task"]["id"] for found in given if found]
    assert len(set(tasks)) == len(tasks) == 8
    assert claim() is None
    assert all(task.fence == 1 for task in stack.tasks() if task.status == "running")


def test_sites_are_served_in_turn(stack: Stack, claim: Claim) -> None:
    # Who comes while the relay stands still with a job's lock for BEST_S is given another's task: that spoils one turn.
    assert any(_in_turn(stack, claim) for _ in range(3))


def _in_turn(stack: Stack, claim: Claim) -> bool:
    with _jobs(stack):
        sites = [found["site"] for number in range(8) if (found := claim(number % 2)) is not None]
    assert len(sites) == 8
    return all(set(pair) == {"north", "south"} for pair in zip(sites[::2], sites[1::2], strict=True))


def test_a_claim_does_not_wait_behind_a_lock(
    stack: Stack, jobs: dict[str, Any], claim: Claim, postgres_server: Postgres
) -> None:
    with postgres_server.administrator(stack.database) as hangs, hangs.transaction():
        hangs.execute("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE", (jobs["north"].id,))
        began = time.monotonic()
        found = [claim(), claim()]
        assert [one["site"] for one in found if one] == ["south", "south"]
        assert time.monotonic() - began < 10
    assert any(again is not None and again["site"] == "north" for again in (claim(), claim()))


def test_what_a_stale_trainer_writes_counts_nowhere(stack: Stack, jobs: dict[str, Any], claim: Claim) -> None:
    old = claim()
    assert old is not None
    saved = _write(stack, old, 1, b"saved in time")
    late = _write(stack, old, 2, b"too late")
    assert _call(stack, old, "checkpoint", step=1, objects=saved).status_code == 204
    stack.execute(f"UPDATE tasks SET lease_until = now() - interval '1 s' WHERE id = '{old['task']['id']}'")
    given = [found for _ in range(8) if (found := claim(1, "other")) is not None]
    (new,) = [found for found in given if found["task"]["id"] == old["task"]["id"]]
    assert new["fence"] == 2
    before = stack.tasks()
    told = _events(stack, old)
    # What it was given an address for it can still write, but nobody will read it.
    httpx.put(_slot(stack, new)["put"], content=b"mine", timeout=30, trust_env=False).raise_for_status()
    calls: dict[str, dict[str, Any]] = {
        "renew": {},
        "release": {},
        "progress": {"events": [{"kind": "epoch", "data": {"epoch": 9, "epochs": 9}}]},
        "objects": {"step": 3, "names": ["state"]},
        "checkpoint": {"step": 2, "objects": late},
        "finish": {"result": {"mine": True}, "objects": late},
        "fail": {"reason": "late"},
    }
    for verb, body in calls.items():
        answer = _call(stack, old, verb, **body)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_fence"), verb
    for what in ("samples", "claim"):
        assert _get(stack, old, what).json()["code"] == "stale_fence"
    assert (stack.tasks(), _events(stack, old)) == (before, told)
    read = httpx.get(new["checkpoint"]["objects"]["state"], timeout=30, trust_env=False)
    assert read.content == b"saved in time"
    # Not even with the other's fence, nor with its objects under the other's token.
    assert _call(stack, {**old, "fence": 2}, "renew").json()["code"] == "stale_fence"
    assert _call(stack, new, "checkpoint", step=2, objects=late).json()["code"] == "invalid_input"


def _slot(stack: Stack, claim: dict[str, Any]) -> dict[str, str]:
    return dict(_call(stack, claim, "objects", step=9, names=["x"]).json()["urls"]["x"])


def _events(stack: Stack, claim: dict[str, Any]) -> int:
    with stack.client(claim["site"]) as client:
        return sum(1 for _ in client.jobs.progress(claim["job_id"]))


def test_a_worker_s_key_asks_for_tasks_and_opens_nothing_else(
    stack: Stack, jobs: dict[str, Any], http: httpx.Client, claim: Claim
) -> None:
    job = jobs["north"].id
    for path in ("datasets", "jobs", f"jobs/{job}", "models", "audit"):
        assert http.get(f"{stack.url()}/api/v1/{path}").status_code in {403, 404}, path
    assert http.post(f"{stack.url()}/api/v1/jobs/{job}/cancel", json={}).status_code == 403
    given = {found["site"]: found for _ in range(8) if (found := claim()) is not None}
    one, two = given["north"], given["south"]
    # A token is its task's only, and so its site's.
    assert _call(stack, {**one, "token": two["token"]}, "renew").status_code == 401
    assert http.post(f"{stack.url()}/api/v1/tasks/{one['task']['id']}/renew", json={"fence": 1}).status_code == 401
    for path in ("datasets", f"jobs/{job}"):
        headers = {"authorization": f"Bearer {one['token']}"}
        assert http.get(f"{stack.url()}/api/v1/{path}", headers=headers).status_code == 401


def test_a_site_s_own_key_is_given_its_own_tasks_only(stack: Stack, jobs: dict[str, Any]) -> None:
    headers = {"authorization": f"Bearer {stack.key('south')}"}
    given: Counter[str] = Counter()
    while True:
        url = f"{stack.url()}/api/v1/tasks/claim"
        answer = httpx.post(url, json={"worker": "own"}, headers=headers, timeout=60, trust_env=False)
        if answer.status_code == 204:
            break
        given[answer.json()["job_id"]] += 1
    assert given == Counter({jobs["south"].id: 4})
