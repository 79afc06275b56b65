"""Locked test parts: what one job locked, no later one reads, and every look at it counts."""

from typing import Any

import pytest

LOCK = {"kind": "kfold", "k": 2, "lock_test": 0.3}
PLAIN = {"kind": "kfold", "k": 2}


def _post(scene: Any, dataset: str, split: dict[str, Any], **more: Any) -> Any:
    settings = {"networks": ["resnet34"], "split": split, **more}
    return scene.client.post("/api/v1/jobs", json={"dataset": dataset, "settings": settings})


def _locked(scene: Any, job_id: str) -> set[int]:
    folds = scene.client.get(f"/api/v1/jobs/{job_id}/split").json()["folds"]
    return {index for index, fold in enumerate(folds) if fold == -2}


def test_every_seed_and_every_number_of_folds_locks_the_same(scene: Any) -> None:
    first = _locked(scene, scene.start(split=LOCK)["id"])
    assert 3 <= len(first) <= 4
    assert _locked(scene, scene.start(split=LOCK, seed=1)["id"]) == first
    assert _locked(scene, scene.start(split=LOCK | {"k": 3}, seed=2)["id"]) == first
    assert _locked(scene, scene.start(split=LOCK | {"lock_test": 0.01}, seed=3)["id"]) == first


def test_a_job_that_would_read_what_another_locked_is_refused_with_its_name(scene: Any) -> None:
    locking = scene.start(split=LOCK)["id"]
    answer = _post(scene, "cells", PLAIN)
    assert answer.status_code == 409
    assert locking in answer.json()["detail"] and "--lock-test 0.3" in answer.json()["detail"]
    assert len(scene.client.get("/api/v1/jobs").json()["items"]) == 1


def test_a_locked_part_that_nothing_came_of_holds_nobody_back(scene: Any) -> None:
    locking = scene.start(split=LOCK)["id"]
    scene.client.post(f"/api/v1/jobs/{locking}/cancel")
    assert _post(scene, "cells", PLAIN).status_code == 201


def test_the_same_images_in_another_data_set_are_locked_too(scene: Any) -> None:
    locked = _locked(scene, scene.start(split=LOCK)["id"])
    scene.seed("more", labels=[0, 1] * 12)  # its first twelve images are those of `cells`
    assert _post(scene, "more", PLAIN).status_code == 409
    answer = _post(scene, "more", LOCK)
    assert answer.status_code == 201 and locked < _locked(scene, answer.json()["id"])


@pytest.mark.parametrize("group", ["p0", "p1", "p2", "p3"])
def test_other_images_of_a_locked_patient_are_held_back(scene: Any, group: str) -> None:
    scene.seed("patients", labels=[0, 1] * 8, first=100, groups=[f"p{n // 4}" for n in range(16)])
    job = _post(scene, "patients", LOCK | {"lock_test": 0.2}).json()
    mine = {n // 4 for n in _locked(scene, job["id"])}
    scene.seed("later", labels=[0, 1] * 6, first=200, groups=[group, group, *(f"q{n}" for n in range(10))])
    expected = 409 if int(group[1:]) in mine else 201
    assert _post(scene, "later", PLAIN).status_code == expected


def test_looking_at_locked_images_by_another_data_set_is_an_opening(scene: Any) -> None:
    job = scene.start(split=LOCK)
    scene.finish_all(job)
    scene.seed("copy", labels=[0, 1] * 7)
    evaluate = "/api/v1/models/cells-resnet34/versions/1/evaluate"
    for number, dataset in enumerate(("copy", "cells", "copy"), 1):
        answer = scene.client.post(evaluate, json={"dataset": dataset})
        assert answer.json()["opening"] == number, answer.text
        scene.tell(scene.claim(), "finish", result={"metrics": {}, "judged": 1})


def test_weights_that_learned_from_the_locked_images_are_refused(scene: Any) -> None:
    scene.seed("old", labels=[0, 1] * 4, first=900)
    answer = scene.client.post(
        "/api/v1/jobs", json={"dataset": "old", "model": "m", "settings": {"networks": ["resnet34"], "split": PLAIN}}
    )
    scene.finish_all(answer.json())
    scene.seed("all", labels=[0, 1] * 15, first=893)  # seven before and fifteen after those eight
    kept = _locked(scene, _post(scene, "all", LOCK | {"lock_test": 0.2}).json()["id"])
    assert kept & set(range(7, 15)), "draw another: the test needs a locked image that the model saw"
    column = {"kind": "holdout", "fraction": 0.1, "lock_test": 0.2}
    answer = _post(scene, "all", column, weights="model:m")
    assert answer.status_code == 422 and "locked test part" in answer.json()["detail"]
