"""Jobs: defaults, folds, weights, refusals, and that a job is written whole or not at all."""

from typing import Any

import pytest
from sqlalchemy import func, select

from services.ingest.audit.service import entries, first_broken
from services.ingest.audit.tables import AuditRow
from services.ingest.jobs import planning
from services.ingest.jobs.tables import JobRow
from services.ingest.outbox import OutboxRow
from services.ingest.tasks.tables import TaskRow


def _refused(scene: Any, **settings: Any) -> str:
    chosen = {"networks": ["resnet34"], "split": {"kind": "kfold", "k": 2}, **settings}
    answer = scene.client.post("/api/v1/jobs", json={"dataset": "cells", "settings": chosen})
    assert answer.status_code in {404, 422}, answer.text
    return str(answer.json()["detail"])


def test_defaults_are_filled_before_a_job_is_stored(scene: Any) -> None:
    scratch = scene.start()["settings"]
    assert (scratch["epochs"], scratch["patience"], scratch["lr"], scratch["batch_size"]) == (30, 10, 3e-3, 16)
    tuned = scene.start(weights="imagenet")["settings"]
    assert (tuned["epochs"], tuned["patience"], tuned["lr"], tuned["schedule"]) == (5, None, 1e-3, "onecycle")
    assert tuned["label_smoothing"] == 0.05 and tuned["augment"] == "flips_turns" and tuned["threads"] >= 1
    frozen = scene.start(weights="imagenet", mode="frozen")["settings"]
    assert frozen["epochs"] is None and frozen["lr"] is None and frozen["image_size"] == 224
    assert scene.start(networks=["inception_v3"])["settings"]["image_size"] == 299


def test_each_network_of_a_job_gets_settings_of_its_own(scene: Any) -> None:
    job = scene.start(networks=["resnet34", "inception_v3"])
    assert job["settings"]["image_size"] is None
    sizes = {}
    while (claim := scene.claim()) is not None:
        sizes[tuple(claim["settings"]["networks"])] = claim["settings"]["image_size"]
    assert sizes == {("resnet34",): 224, ("inception_v3",): 299}


@pytest.mark.parametrize(
    ("split", "serve"),
    [({"kind": "kfold", "k": 3}, "refit"), ({"kind": "holdout", "fraction": 0.3}, "fold:0")],
)
def test_what_is_served_is_decided_before_training(scene: Any, split: dict[str, Any], serve: str) -> None:
    job = scene.start(split=split)
    assert job["serve"] == serve == job["settings"]["serve"]
    assert ("resnet34/refit" in {task["key"] for task in job["tasks"]}) == (serve == "refit")


def test_impossible_wishes_are_refused_with_the_reason(scene: Any) -> None:
    assert "12" in _refused(scene, split={"kind": "kfold", "k": 20})
    assert "epochs, lr have no meaning" in _refused(scene, weights="imagenet", mode="frozen", epochs=3, lr=0.1)
    assert "would be called the paper's" in _refused(scene, weights="imagenet", mode="frozen", protocol="paper")
    for mode in ("full", "last:2"):
        assert "2 or more" in _refused(scene, weights="imagenet", mode=mode, batch_size=1)
    assert "needs weights" in _refused(scene, mode="frozen")
    assert "no fold:7" in _refused(scene, serve="fold:7")
    assert "at least 75" in _refused(scene, networks=["inception_v3"], image_size=64)
    assert "no column 'site'" in _refused(scene, split={"kind": "column", "column": "site"})
    assert "Upload it first" in _refused(scene, weights=f"file:{'0' * 64}")
    assert "no model 'unknown'" in _refused(scene, weights="model:unknown")
    assert "not known" in _refused(scene, weights="magic")
    with scene.parts.database.read("local") as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 0


def test_a_model_name_that_would_be_too_long_is_refused_before_anything_is_trained(scene: Any) -> None:
    settings = {"networks": ["resnet34", "mobilenet_v3_large"], "split": {"k": 2}}
    body = {"dataset": "cells", "model": "m" * 50, "settings": settings}
    answer = scene.client.post("/api/v1/jobs", json=body)
    assert answer.status_code == 422 and "1 to 63 letters" in answer.json()["detail"]
    assert scene.client.post("/api/v1/jobs", json=body | {"model": "m" * 44}).status_code == 201


def test_a_job_that_cannot_be_written_whole_is_not_written(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = planning.write

    def dies_after(*given: Any) -> Any:
        real(*given)
        raise RuntimeError

    monkeypatch.setattr(planning, "write", dies_after)
    body = {"dataset": "cells", "settings": {"networks": ["resnet34"], "split": {"k": 2}}}
    assert scene.client.post("/api/v1/jobs", json=body).status_code == 500
    with scene.parts.database.read("local") as session:
        for table in (JobRow, TaskRow, OutboxRow, AuditRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0, table


def test_the_stored_split_keeps_groups_together_and_is_fixed_by_the_seed(scene: Any) -> None:
    scene.seed("patients", labels=[0, 1] * 8, first=100, groups=[f"p{n // 4}" for n in range(16)])
    body = {"dataset": "patients", "settings": {"networks": ["resnet34"], "split": {"k": 2}, "seed": 3}}
    splits = []
    for _ in range(2):
        job = scene.client.post("/api/v1/jobs", json=body).json()
        assert job["split"]["groups"] is True
        splits.append(scene.client.get(f"/api/v1/jobs/{job['id']}/split").json())
    assert splits[0] == splits[1]
    for start in range(0, 16, 4):
        assert len(set(splits[0]["folds"][start : start + 4])) == 1


def test_deeds_are_in_the_audit_log_and_a_changed_entry_is_found(scene: Any) -> None:
    job = scene.start()
    scene.client.post(f"/api/v1/jobs/{job['id']}/cancel")
    found = entries(scene.parts.database, "local", 0, 10)
    assert [(e.principal, e.action, e.subject) for e in found] == [
        ("owner", "job.create", job["id"]),
        ("owner", "job.cancel", job["id"]),
    ]
    assert first_broken(scene.parts.database, "local") is None
    assert scene.client.get("/api/v1/audit").json()["items"][0]["action"] == "job.create"
    with scene.parts.database.begin("local") as session:
        session.get_one(AuditRow, ("local", 1)).principal = "somebody else"
    assert first_broken(scene.parts.database, "local") == 1


def test_the_trace_in_which_a_job_was_started_goes_with_its_wake_ups_and_claims(scene: Any) -> None:
    where = f"00-{'a' * 32}-{'b' * 16}-01"
    scene.client.headers["traceparent"] = where
    scene.start()
    del scene.client.headers["traceparent"]
    with scene.parts.database.read("local") as session:
        (told,) = {str(row.body["traceparent"]) for row in session.scalars(select(OutboxRow))}
    assert told == where
    assert scene.claim()["traceparent"] == where


def test_a_job_without_a_trace_has_none(scene: Any) -> None:
    scene.start()
    assert scene.claim()["traceparent"] == ""
