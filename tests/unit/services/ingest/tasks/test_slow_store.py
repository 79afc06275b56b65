"""A store that is slow or refuses to be read costs no lease, no attempt, no connection of the records, and no sleep."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select

from aimic.errors import CorruptError, UnavailableError
from services.ingest.datasets import reading
from services.ingest.jobs.tables import ProgressRow
from services.ingest.outbox import OutboxRow
from services.ingest.tasks import claiming
from services.ingest.tasks.specification import claim_of


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What was read of data sets is in memory no more."""

    def cold() -> None:
        monkeypatch.setattr(reading, "_MANIFESTS", reading._Few(lambda manifest: len(manifest.samples)))
        monkeypatch.setattr(reading, "_ANALYSES", reading._Few(lambda analysis: len(analysis.clusters)))

    return cold


def _rows(scene: Any) -> tuple[int, int]:
    """How many events of jobs there are, and messages to be published."""
    with scene.parts.database.read("local") as session:
        tables = (ProgressRow, OutboxRow)
        events, messages = (session.scalar(select(func.count()).select_from(table)) or 0 for table in tables)
    return events, messages


def _ask(scene: Any) -> int:
    return int(scene.client.post("/api/v1/tasks/claim", json={"worker": "w"}).status_code)


def test_a_lease_begins_once_what_the_claim_needs_is_read(
    scene: Any, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    scene.start()
    get = scene.parts.blobs.get

    def slow(key: str) -> bytes:
        scene.later(31)
        return bytes(get(key))

    forget()
    monkeypatch.setattr(scene.parts.blobs, "get", slow)
    first, second = scene.claim(), scene.claim()
    assert [claim["task"]["key"] for claim in (first, second)] == ["resnet34/fold/0", "resnet34/fold/1"]
    assert scene.tell(first, "renew").status_code == 200


def test_a_claim_that_took_long_to_describe_has_a_full_term(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.start()

    def slow(*facts: Any) -> Any:
        scene.later(20)
        return claim_of(*facts)

    monkeypatch.setattr(claiming, "LATE_SHARE", 0.0)
    monkeypatch.setattr(claiming, "claim_of", slow)
    first = scene.claim()
    scene.later(20)
    assert first["task"]["key"] == "resnet34/fold/0"
    assert scene.claim()["task"]["key"] == "resnet34/fold/1"


def test_a_worker_that_has_gone_before_the_answer_costs_no_attempt(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = scene.start()
    before = scene.job(job["id"])
    with monkeypatch.context() as patch:
        patch.setattr(claiming, "PATIENCE_S", -1.0)
        assert _ask(scene) == 503
    assert scene.job(job["id"]) == before, "nothing is taken for who has gone already"
    for _ in range(4):
        with monkeypatch.context() as patch:

            def late(*facts: Any, patch: pytest.MonkeyPatch = patch) -> Any:
                patch.setattr(claiming, "PATIENCE_S", -1.0)
                return claim_of(*facts)

            patch.setattr(claiming, "claim_of", late)
            assert _ask(scene) == 503
    assert scene.claim()["fence"] == 5


def test_a_store_that_refuses_to_be_read_leaves_no_rows_and_wakes_nobody(
    scene: Any, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    def refused(*_: Any) -> bytes:
        raise UnavailableError("The store refuses our key.")

    scene.start()
    before = _rows(scene)
    forget()
    with monkeypatch.context() as patch:
        patch.setattr(scene.parts.blobs, "get", refused)
        assert [_ask(scene) for _ in range(3)] == [503] * 3
    assert _rows(scene) == before
    with monkeypatch.context() as patch:
        patch.setattr(claiming, "claim_of", refused)  # it went away just after the task was taken
        assert _ask(scene) == 503
    assert _rows(scene)[1] == before[1]
    assert scene.claim()["fence"] == 2


def test_what_is_damaged_counts_and_is_told_in_the_end(
    scene: Any, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    def damaged(*_: Any) -> bytes:
        raise CorruptError("It was changed on disk.")

    job = scene.start()
    forget()
    monkeypatch.setattr(scene.parts.blobs, "get", damaged)
    assert [_ask(scene) for _ in range(4)] == [422, 422, 422, 204]
    assert "could not be read" in scene.job(job["id"])["error"]


def test_no_unit_of_work_is_open_while_the_store_is_read(
    scene: Any, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    scene.start()
    claim = scene.claim()
    get, pool = scene.parts.blobs.get, scene.parts.database.engine.pool
    held: list[int] = []

    def watched(key: str) -> bytes:
        held.append(pool.checkedout())
        return bytes(get(key))

    monkeypatch.setattr(scene.parts.blobs, "get", watched)
    headers = {"X-Task-Token": claim["token"]}
    task = f"/api/v1/tasks/{claim['task']['id']}"
    for call in (
        scene.claim,
        scene.start,
        lambda: scene.client.get(f"{task}/claim", headers=headers),
        lambda: scene.client.get(f"{task}/samples", headers=headers),
        lambda: scene.client.get("/api/v1/datasets/cells/versions/1/samples"),
        lambda: scene.client.get("/api/v1/datasets/cells/versions/1/export"),
    ):
        forget()
        answer, reads = call(), len(held)
        assert isinstance(answer, dict) or answer.status_code == 200
        assert reads, "it has to read something for this to mean anything"
        assert not any(held)
        held.clear()


def test_only_what_judges_or_packages_has_the_analysis_read(
    scene: Any, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    """It is as large as the manifest, and a trainer asks for its samples page by page."""
    scene.start()
    get = scene.parts.blobs.get
    read: list[str] = []

    def watched(key: str) -> bytes:
        read.append(key.split("/")[1])
        return bytes(get(key))

    monkeypatch.setattr(scene.parts.blobs, "get", watched)

    def reads(call: Callable[[], Any]) -> tuple[Any, set[str]]:
        forget()
        read.clear()
        answer = call()
        return answer, set(read)

    needed: dict[str, set[str]] = {}
    while "package" not in needed:
        claim, found = reads(scene.claim)
        needed[claim["task"]["kind"]] = found
        url, headers = f"/api/v1/tasks/{claim['task']['id']}/samples", {"X-Task-Token": claim["token"]}
        page, listed = reads(partial(scene.client.get, url, headers=headers))
        assert len(page.json()["items"]) == len(claim["split"]["folds"]) and listed == {"manifests"}
        assert claim["task"]["kind"] == "package" or scene.tell(claim, "finish", result={}).status_code == 204
    both = {"manifests", "analyses"}
    assert needed == {"fold": {"manifests"}, "refit": {"manifests"}, "judge": both, "package": both}
