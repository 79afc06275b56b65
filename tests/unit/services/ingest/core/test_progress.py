"""Progress: numbered, only the newest batch kept, streamed to the end, resumable by Last-Event-ID."""

import json
import threading
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient


def _batch(n: int) -> dict[str, Any]:
    return {"kind": "batch", "data": {"phase": "train", "batch": n, "batches": 9}}


def _epoch(n: int, loss: float) -> dict[str, Any]:
    return {"kind": "epoch", "data": {"epoch": n, "epochs": 4, "train_loss": loss, "seconds": 10.0}}


def _stream(client: TestClient, job_id: str, last: str = "") -> list[dict[str, str]]:
    events = []
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", f"/api/v1/jobs/{job_id}/events", headers=headers) as answer:
        current: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if not line and current:
                events.append(current)
                current = {}
            elif name in {"id", "event", "data"}:
                current[name] = value
    return events


def test_only_the_newest_batch_of_a_task_is_kept(scene: Any) -> None:
    job = scene.start()
    one, two = scene.claim(), scene.claim()
    for n in range(3):
        assert scene.tell(one, "progress", events=[_batch(n)]).status_code == 204
    scene.tell(two, "progress", events=[_batch(7)])
    items = scene.client.get(f"/api/v1/jobs/{job['id']}/progress").json()["items"]
    assert [item["data"]["batch"] for item in items if item["kind"] == "batch"] == [2, 7]
    sequences = [item["sequence"] for item in items]
    assert sequences == sorted(set(sequences))
    shown = {task["id"]: task["progress"] for task in scene.job(job["id"])["tasks"]}
    assert shown[one["task"]["id"]]["batch"] == 2


def test_an_epoch_done_again_after_a_crash_counts_once(scene: Any) -> None:
    job = scene.start()
    claim = scene.claim()
    scene.tell(claim, "progress", events=[_epoch(1, 1.0), _epoch(2, 0.5), _epoch(3, 0.4)])
    scene.tell(claim, "progress", events=[_epoch(2, 0.6)])
    items = scene.client.get(f"/api/v1/jobs/{job['id']}/progress").json()["items"]
    losses = [(i["data"]["epoch"], i["data"]["train_loss"]) for i in items if i["kind"] == "epoch"]
    assert losses == [(1, 1.0), (2, 0.6)]


def test_the_rest_of_the_time_is_estimated_from_the_epochs(scene: Any) -> None:
    job = scene.start(epochs=4)
    assert job["eta_s"] is None
    claim = scene.claim()
    scene.tell(claim, "progress", events=[_epoch(1, 1.0)])
    # this fold has 3 epochs left, the other fold and the refit 4 each, one after the other
    assert scene.job(job["id"])["eta_s"] == 110.0
    half = {"phase": "train", "epoch": 2, "epochs": 4, "batch": 5, "batches": 10}
    scene.tell(claim, "progress", events=[{"kind": "batch", "data": half}])
    assert scene.job(job["id"])["eta_s"] == 105.0


def test_a_frozen_job_has_an_estimate_from_its_images_and_then_its_heads(scene: Any) -> None:
    settings = {"networks": ["resnet34", "mobilenet_v2"], "mode": "frozen", "weights": "imagenet"}
    job = scene.start(**settings)
    claim = scene.claim()

    def left(**data: Any) -> float | None:
        assert scene.tell(claim, "progress", events=[{"kind": "batch", "data": data}]).status_code == 204
        found: float | None = scene.job(job["id"])["eta_s"]
        return found

    assert left(phase="cache", batch=5, batches=12, images_per_s=1000) is None
    # 7 images at 2 a second, and 12 for the network that waits
    assert left(phase="features", batch=5, batches=12, images_per_s=2) == 3.5 + 6
    assert left(phase="heads", batch=0, batches=2) is None
    scene.clock.ahead_s += 10
    two_heads, three_of_the_next = 20, 30
    assert left(phase="heads", batch=1, batches=2) == pytest.approx(two_heads + three_of_the_next, rel=0.1)
    bad = [{"kind": "batch", "data": {"phase": "features", "images_per_s": "many"}}]
    assert scene.tell(claim, "progress", events=bad).status_code == 422


def test_a_stream_goes_on_after_the_last_event_id_and_ends_with_the_job(scene: Any) -> None:
    job = scene.start()
    claim = scene.claim()
    scene.tell(claim, "progress", events=[_epoch(1, 1.0)])
    cancel = threading.Timer(0.5, scene.client.post, [f"/api/v1/jobs/{job['id']}/cancel"])
    cancel.start()
    events = _stream(scene.client, job["id"])
    cancel.join()
    last = json.loads(events[-1]["data"])
    assert (last["kind"], last["task_id"], last["data"]["status"]) == ("status", None, "cancelled")
    assert [event["id"] for event in events] == sorted({event["id"] for event in events}, key=int)
    middle = events[2]["id"]
    assert _stream(scene.client, job["id"], middle) == events[3:]


def test_a_watcher_is_woken_at_once(scene: Any) -> None:
    job = scene.start()
    seen: list[float] = []

    def watch() -> None:
        with scene.client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as answer:
            for line in answer.iter_lines():
                if line.startswith("event: warning"):
                    seen.append(time.monotonic())

    claim = scene.claim()
    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(0.3)
    told = time.monotonic()
    scene.tell(claim, "progress", events=[{"kind": "warning", "data": {"message": "x"}}])
    scene.client.post(f"/api/v1/jobs/{job['id']}/cancel")
    watcher.join(5)
    assert seen and seen[0] - told < 5


def test_when_the_process_ends_streams_end(scene: Any) -> None:
    job = scene.start()
    threading.Timer(0.3, scene.parts.signals.stop).start()
    started = time.monotonic()
    assert _stream(scene.client, job["id"])
    assert time.monotonic() - started < 5


def test_numbers_that_are_none_are_refused(scene: Any) -> None:
    job = scene.start()
    claim = scene.claim()
    for kind, name in (("batch", "batches"), ("epoch", "epochs"), ("epoch", "seconds")):
        for bad in ("many", -1, [2]):
            answer = scene.tell(claim, "progress", events=[{"kind": kind, "data": {"phase": "train", name: bad}}])
            assert answer.status_code == 422
    assert scene.job(job["id"])["eta_s"] is None


def test_a_loss_that_ran_away_is_shown_as_absent(scene: Any) -> None:
    job = scene.start()
    claim = scene.claim()
    url, token = f"/api/v1/tasks/{claim['task']['id']}", {"X-Task-Token": claim["token"]}
    body = '{"fence": 1, "events": [{"kind": "epoch", "data": {"epoch": 1, "train_loss": NaN, "seconds": Infinity}}]}'
    headers = {**token, "content-type": "application/json"}
    assert scene.client.post(f"{url}/progress", content=body, headers=headers).status_code == 204
    items = scene.client.get(f"/api/v1/jobs/{job['id']}/progress").json()["items"]
    assert items[-1]["data"] == {"epoch": 1, "train_loss": None, "seconds": None}
    body = '{"fence": 1, "result": {"deep": [1.5, {"loss": -Infinity}]}}'
    assert scene.client.post(f"{url}/finish", content=body, headers=headers).status_code == 204
    scene.tell(scene.claim(kinds=["fold"]), "finish", result={})
    inputs = scene.claim(kinds=["judge"])["inputs"]
    assert inputs[claim["task"]["key"]]["result"] == {"deep": [1.5, {"loss": None}]}


def test_an_event_has_a_limit(scene: Any) -> None:
    scene.start()
    claim = scene.claim()
    big = [{"kind": "warning", "data": {"message": "x" * 20_000}}]
    assert scene.tell(claim, "progress", events=big).status_code == 413
