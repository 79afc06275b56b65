"""A process that dies between two steps leaves the records as they were before, and the work goes on."""

from typing import Any

import pytest
from sqlalchemy import select

from aimic.domain.job import JobRequest, TrainSettings
from aimic.domain.site import OWNER, PLATFORM_SITE, Permission, Principal
from aimic.domain.split import SplitRequest
from aimic.domain.work import ClaimRequest
from services.ingest.datasets.tables import DatasetRow
from services.ingest.jobs import lifecycle, planning
from services.ingest.outbox import OutboxRow
from services.ingest.tasks import claiming, repository
from services.ingest.tasks.sweeper import Sweeper


def _die(*given: Any, **named: Any) -> None:
    raise RuntimeError("killed here")


def _outbox(scene: Any) -> list[tuple[str, int]]:
    with scene.parts.database.read("*") as session:
        return [(row.aggregate, row.sequence) for row in session.scalars(select(OutboxRow))]


def test_finishing_and_releasing_successors_is_one_step(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = scene.start()
    first, last = scene.claim(), scene.claim()
    scene.tell(first, "finish", result={})
    before, waking = scene.job(job["id"]), _outbox(scene)
    with monkeypatch.context() as patch:
        patch.setattr(repository, "of_job", _die)  # after the successors were made ready
        assert scene.tell(last, "finish", result={}).status_code == 500
    assert scene.job(job["id"]) == before and _outbox(scene) == waking
    assert scene.tell(last, "finish", result={}).status_code == 204
    released = {task["key"] for task in scene.job(job["id"])["tasks"] if task["status"] == "ready"}
    assert released == {"resnet34/judge", "resnet34/refit"} and len(_outbox(scene)) == len(waking) + 2


def test_a_model_is_registered_with_its_task_or_not_at_all(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = scene.start()
    while (claim := scene.claim())["task"]["kind"] != "package":
        scene.tell(claim, "finish", result={})
    objects = scene.write(claim, 1, **{"bundle.aimic": scene.bundle(job)})
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "done", _die)
        assert scene.tell(claim, "finish", result={}, objects=objects).status_code == 500
    assert scene.client.get("/api/v1/models").json()["items"] == []
    assert scene.tell(claim, "finish", result={}, objects=objects).status_code == 204
    versions = scene.client.get("/api/v1/models").json()["items"]
    assert [version["version"] for version in versions] == [1]


def test_a_claim_that_cannot_be_described_is_handed_back_and_fails_in_the_end(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scene.start()
    monkeypatch.setattr(claiming, "claim_of", _die)
    for _ in range(3):
        assert scene.client.post("/api/v1/tasks/claim", json={"worker": "w", "kinds": ["fold"]}).status_code == 500
        assert scene.job(job["id"])["tasks"][0]["status"] == "ready"
    scene.client.post("/api/v1/tasks/claim", json={"worker": "w", "kinds": ["fold"]})
    assert "could not be read" in scene.job(job["id"])["error"]


def test_weights_for_later_tasks_go_when_the_job_is_over_and_logits_stay(scene: Any) -> None:
    job = scene.start()
    claim = scene.claim()
    objects = scene.write(claim, 1, **{"weights.safetensors": b"w", "oof.safetensors": b"l"})
    scene.tell(claim, "finish", result={}, objects=objects)
    Sweeper(scene.parts).run_one()
    assert scene.parts.blobs.exists(objects["weights.safetensors"])
    scene.finish_all(job)
    Sweeper(scene.parts).run_one()
    assert not scene.parts.blobs.exists(objects["weights.safetensors"])
    assert scene.parts.blobs.exists(objects["oof.safetensors"])
    assert len(scene.client.get("/api/v1/models/cells-resnet34/versions/1/bundle").content) > 1000


def _worker(site: str) -> Principal:
    return Principal(site=site, name="trainer", permissions=frozenset({Permission.TASKS_WORK}))


def _second_site(scene: Any) -> None:
    """A job of 6 folds at another site, as old as the newest at the first."""
    settings = TrainSettings(networks=("resnet34",), split=SplitRequest(k=6))
    scene.start(split={"k": 6})
    plan = planning.prepare(scene.parts, OWNER, JobRequest(dataset="cells", settings=settings))
    with scene.parts.database.begin("north") as session:
        now = scene.parts.database.now(session)
        session.add(DatasetRow(site="north", id="c", name="cells", classes=[], created_by="x", created_at=now))
        session.flush()
        planning.write(session, plan, _worker("north"), now)


def test_sites_share_the_platforms_workers_fairly_and_see_nothing_of_each_other(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _second_site(scene)
    monkeypatch.setattr(claiming, "claim_of", lambda parts, token, text: token)
    request = ClaimRequest(worker="w")
    sites = [claiming.claim(scene.parts, _worker(PLATFORM_SITE), request).site for _ in range(6)]  # type: ignore[union-attr] # claim_of is replaced
    assert sites == ["local", "north"] * 3
    own = [claiming.claim(scene.parts, _worker("north"), request) for _ in range(4)]
    assert [token.site for token in own if token] == ["north"] * 3
    with scene.parts.database.begin("local") as session, pytest.raises(Exception, match="no task"):
        repository.find(session, "local", own[0].task)  # type: ignore[union-attr, arg-type] # claim_of is replaced
