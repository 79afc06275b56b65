"""The task protocol as a worker lives it: claims, fences, leases, attempts, checkpoints, results."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aimic.errors import UnavailableError
from services.ingest.tasks import claiming, presence
from services.ingest.tasks.sweeper import Sweeper


def _statuses(job: dict[str, Any]) -> dict[str, str]:
    return {task["key"]: task["status"] for task in job["tasks"]}


def test_a_job_goes_from_folds_to_a_model(scene: Any) -> None:
    job = scene.start()
    assert _statuses(job) == {
        "resnet34/fold/0": "ready",
        "resnet34/fold/1": "ready",
        "resnet34/judge": "waiting",
        "resnet34/refit": "waiting",
        "resnet34/package": "waiting",
    }
    first = scene.claim()
    assert scene.job(job["id"])["status"] == "running"
    assert first["settings"]["epochs"] == 30 and first["settings"]["image_size"] == 224
    assert first["serve"] == "refit" and first["fence"] == 1 and first["checkpoint"] is None
    assert scene.tell(first, "finish", result={"x": 1}).status_code == 204
    assert _statuses(scene.job(job["id"]))["resnet34/judge"] == "waiting"
    scene.finish_all(job)
    done = scene.job(job["id"])
    assert done["status"] == "done" and set(_statuses(done).values()) == {"done"}
    assert done["models"] == ["cells-resnet34:1"]
    assert scene.claim() is None


def test_a_successor_gets_the_results_of_what_it_waited_for(scene: Any) -> None:
    scene.start()
    for _ in range(2):
        claim = scene.claim()
        objects = scene.write(claim, 3, logits=claim["task"]["key"].encode())
        assert scene.tell(claim, "finish", result={"fold": claim["task"]["fold"]}, objects=objects).status_code == 204
    judge = scene.claim(kinds=["judge"])
    assert (len(claim["clusters"]), len(judge["clusters"])) == (0, len(judge["split"]["folds"]))
    inputs = judge["inputs"]
    assert {key: value["result"] for key, value in inputs.items()} == {
        "resnet34/fold/0": {"fold": 0},
        "resnet34/fold/1": {"fold": 1},
    }
    assert inputs["resnet34/fold/1"]["objects"]["logits"].startswith("file://")


def test_two_workers_never_hold_the_same_task(scene: Any) -> None:
    scene.start(split={"kind": "kfold", "k": 6})
    with ThreadPoolExecutor(6) as pool:
        claims = list(pool.map(lambda n: scene.claim(f"w{n}"), range(12)))
    held = [claim["task"]["id"] for claim in claims if claim]
    assert len(held) == 6 and len(set(held)) == 6


def test_an_expired_lease_is_given_away_with_the_checkpoint_and_the_stale_fence_writes_nothing(scene: Any) -> None:
    job = scene.start()
    old = scene.claim(kinds=["fold"])
    objects = scene.write(old, 4, state=b"half")
    assert scene.tell(old, "checkpoint", step=4, objects=objects).status_code == 204
    assert scene.claim("other")["task"]["id"] != old["task"]["id"]
    scene.later(31)
    new = scene.claim("other")
    assert new["task"]["id"] == old["task"]["id"] and new["fence"] == 2
    assert new["checkpoint"]["step"] == 4 and list(new["checkpoint"]["objects"]) == ["state"]
    before = scene.job(job["id"])
    calls: dict[str, dict[str, Any]] = {
        "renew": {},
        "release": {},
        "progress": {"events": [{"kind": "batch", "data": {"batch": 1}}]},
        "objects": {"step": 5, "names": ["x"]},
        "checkpoint": {"step": 9, "objects": objects},
        "finish": {"result": {}},
        "fail": {"reason": "late"},
    }
    for verb, body in calls.items():
        answer = scene.tell(old, verb, **body)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_fence"), verb
    assert scene.job(job["id"]) == before
    assert scene.tell({**new, "fence": 1}, "renew").json()["code"] == "stale_fence"


def test_an_expired_lease_not_given_away_may_be_renewed(scene: Any) -> None:
    scene.start()
    claim = scene.claim()
    scene.clock.ahead_s = 100
    answer = scene.tell(claim, "renew").json()
    assert answer["cancel"] is False and answer["lease_s"] == 30
    assert scene.tell({**claim, "token": answer["token"]}, "finish", result={}).status_code == 204


def test_a_fold_is_counted_once_though_its_result_comes_twice(scene: Any) -> None:
    job = scene.start()
    claim = scene.claim()
    assert scene.tell(claim, "finish", result={"a": 1}).status_code == 204
    told = scene.job(job["id"])
    assert scene.tell(claim, "finish", result={"a": 1}).status_code == 204
    assert scene.job(job["id"]) == told
    assert scene.tell(claim, "finish", result={"a": 2}).status_code == 409


def test_three_attempts_without_a_checkpoint_fail_the_job_with_the_last_words(scene: Any) -> None:
    job = scene.start()
    for attempt in range(1, 4):
        claim = scene.claim(kinds=["fold"])
        assert claim["task"]["key"] == "resnet34/fold/0"
        words = f"no memory, attempt {attempt}"
        assert scene.tell(claim, "fail", reason=words, retry=True).status_code == 204
    failed = scene.job(job["id"])
    assert failed["status"] == "failed" and "no memory, attempt 3" in failed["error"]
    assert _statuses(failed)["resnet34/fold/0"] == "failed"
    assert set(_statuses(failed).values()) == {"failed", "cancelled"}
    assert scene.claim() is None


def test_a_checkpoint_gives_three_more_attempts(scene: Any) -> None:
    job = scene.start()
    for step in range(1, 5):
        claim = scene.claim()
        assert scene.tell(claim, "checkpoint", step=step, objects=scene.write(claim, step, s=b"x")).status_code == 204
        assert scene.tell(claim, "fail", reason="crash", retry=True).status_code == 204
    assert scene.job(job["id"])["status"] == "running"


def test_workers_that_die_without_a_word_end_the_task_too(scene: Any) -> None:
    job = scene.start()
    sweeper = Sweeper(scene.parts)
    for _ in range(3):
        assert scene.claim(kinds=["fold"])["task"]["key"] == "resnet34/fold/0"
        scene.later(31)
        sweeper.run_one()
    failed = scene.job(job["id"])
    assert failed["status"] == "failed" and "memory" in failed["error"]


def test_a_handed_back_task_counts_no_attempt(scene: Any) -> None:
    scene.start()
    for _ in range(5):
        claim = scene.claim()
        assert claim["task"]["key"] == "resnet34/fold/0"
        assert scene.tell(claim, "release").status_code == 204
    assert scene.claim()["fence"] == 6


def test_cancelling_tells_the_worker_and_keeps_the_job_cancelled(scene: Any) -> None:
    job = scene.start()
    claim = scene.claim()
    cancelled = scene.client.post(f"/api/v1/jobs/{job['id']}/cancel", json={}).json()
    assert cancelled["status"] == "cancelled" and cancelled["eta_s"] is None
    assert scene.tell(claim, "renew").json()["cancel"] is True
    assert scene.tell(claim, "finish", result={}).json()["code"] == "stale_fence"
    assert scene.tell(claim, "release").status_code == 204
    assert scene.claim() is None
    assert scene.client.post(f"/api/v1/jobs/{job['id']}/cancel", json={}).status_code == 200


def test_checkpoints_go_forward_only_and_old_objects_go(scene: Any) -> None:
    scene.start()
    claim = scene.claim()
    first = scene.write(claim, 1, state=b"1")
    second = scene.write(claim, 2, state=b"2")
    assert scene.tell(claim, "checkpoint", step=1, objects=first).status_code == 204
    assert scene.tell(claim, "checkpoint", step=2, objects=second).status_code == 204
    assert scene.tell(claim, "checkpoint", step=2, objects=second).status_code == 204
    assert scene.tell(claim, "checkpoint", step=1, objects=first).json()["code"] == "conflict"
    Sweeper(scene.parts).run_one()
    assert not scene.parts.blobs.exists(first["state"]) and scene.parts.blobs.exists(second["state"])


@pytest.mark.parametrize(
    "objects",
    [{"x": "local/manifests/abc"}, {"x": "local/tasks/other/1/1/x"}, {"../x": "k"}],
)
def test_only_what_this_claim_wrote_counts(scene: Any, objects: dict[str, str]) -> None:
    scene.start()
    claim = scene.claim()
    assert scene.tell(claim, "checkpoint", step=1, objects=objects).json()["code"] == "invalid_input"
    missing = {"x": f"local/tasks/{claim['task']['id']}/1/1/x"}
    assert scene.tell(claim, "finish", result={}, objects=missing).json()["code"] == "invalid_input"


def test_a_token_opens_its_own_task_only(scene: Any) -> None:
    scene.start()
    one, two = scene.claim(), scene.claim()
    assert scene.tell({**one, "token": two["token"]}, "renew").status_code == 401
    assert scene.tell({**one, "token": one["token"][:-4] + "AAAA"}, "renew").status_code == 401
    assert scene.tell({**one, "token": ""}, "renew").status_code == 401
    bearer = {"Authorization": f"Bearer {one['token']}"}
    url = f"/api/v1/tasks/{one['task']['id']}/renew"
    assert scene.client.post(url, json={"fence": 1}, headers=bearer).status_code == 200


def test_after_ingest_was_away_leases_get_a_full_term(scene: Any) -> None:
    scene.start()
    claim = scene.claim(kinds=["fold"])
    scene.clock.ahead_s = 300
    assert scene.claim("other", kinds=["fold"])["task"]["id"] != claim["task"]["id"]
    scene.later(31)
    assert scene.claim("other", kinds=["fold"])["fence"] == 2


def test_a_replica_that_starts_again_gives_a_dead_trainer_no_second_life(scene: Any) -> None:
    scene.start(split={"kind": "kfold", "k": 2})
    dead = scene.claim(kinds=["fold"])
    assert scene.claim(kinds=["fold"]) is not None
    for second in range(5, 35, 5):  # a replica that starts every five seconds, and is never missed for long
        scene.clock.ahead_s = second
        presence.keep(scene.parts)
    again = scene.claim("other", kinds=["fold"])
    assert (again["task"]["id"], again["fence"]) == (dead["task"]["id"], 2)


def test_a_lease_that_had_ended_before_ingest_went_away_gets_no_term(scene: Any) -> None:
    scene.start()
    scene.claim(kinds=["fold"])
    scene.later(40)
    scene.clock.ahead_s = 300
    assert scene.claim("other", kinds=["fold"])["fence"] == 2


def test_a_claim_can_be_told_once_more_with_fresh_addresses(scene: Any) -> None:
    scene.start()
    claim = scene.claim()
    url = f"/api/v1/tasks/{claim['task']['id']}/claim"
    again = scene.client.get(url, headers={"X-Task-Token": claim["token"]}).json()
    assert {**again, "token": ""} == {**claim, "token": ""}
    assert scene.tell({**claim, "token": again["token"]}, "release").status_code == 204
    stale = scene.client.get(url, headers={"X-Task-Token": claim["token"]})
    assert stale.json()["code"] == "stale_fence"


def test_while_the_store_is_away_no_task_is_taken(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise UnavailableError("The store is away.")

    job = scene.start()
    before = scene.job(job["id"])
    with monkeypatch.context() as patch:
        patch.setattr(scene.parts.blobs, "ping", away)
        answer = scene.client.post("/api/v1/tasks/claim", json={"worker": "w"})
        assert answer.status_code == 503
    assert scene.job(job["id"]) == before
    for _ in range(4):  # away in between: handed back, and no attempt is counted
        with monkeypatch.context() as patch:
            patch.setattr(claiming, "claim_of", lambda *_: away())
            assert scene.client.post("/api/v1/tasks/claim", json={"worker": "w"}).status_code == 503
    assert scene.claim()["fence"] == 5


def test_samples_come_in_manifest_order_whole_or_in_parts(scene: Any) -> None:
    scene.start()
    claim = scene.claim()
    url = f"/api/v1/tasks/{claim['task']['id']}/samples"
    headers = {"X-Task-Token": claim["token"]}
    whole = scene.client.get(url, headers=headers).json()
    assert [item["index"] for item in whole["items"]] == list(range(12)) and whole["next"] is None
    assert all(item["url"].startswith("file://") for item in whole["items"])
    part = scene.client.get(url, headers=headers, params={"after": 3, "limit": 5}).json()
    assert part == {"items": whole["items"][4:9], "next": 8}


def test_locked_images_have_no_address(scene: Any) -> None:
    scene.start(split={"kind": "kfold", "k": 2, "lock_test": 0.3})
    claim = scene.claim()
    url = f"/api/v1/tasks/{claim['task']['id']}/samples"
    items = scene.client.get(url, headers={"X-Task-Token": claim["token"]}).json()["items"]
    locked = [index for index, fold in enumerate(claim["split"]["folds"]) if fold == -2]
    assert locked and [item["index"] for item in items if item["url"] is None] == locked


def test_the_older_job_comes_first(scene: Any) -> None:
    first, _ = scene.start(), scene.start()
    assert [scene.claim()["job_id"] for _ in range(2)] == [first["id"]] * 2
