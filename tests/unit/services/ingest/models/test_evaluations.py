"""Evaluations: no image that the model could know is judged, and each left-out one is listed with the reason."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aimic.nets.info import BundleInfo
from services.ingest.datasets.reading import load_version
from services.ingest.datasets.tables import ThumbRow
from services.ingest.evaluations.knowledge import known
from services.ingest.models.bundles import opened

EVALUATE = "/api/v1/models/cells-resnet34/versions/1/evaluate"


def _model(scene: Any, **settings: Any) -> None:
    job = scene.start(**settings)
    scene.finish_all(job)


def test_the_fold_that_chose_the_epoch_by_the_paper_s_protocol_is_known(scene: Any) -> None:
    judged = {}
    for protocol in ("honest", "paper"):
        split = {"kind": "holdout", "fraction": 0.3}
        settings = {"networks": ["resnet34"], "split": split, "protocol": protocol}
        body = {"dataset": "cells", "model": protocol, "settings": settings}
        scene.finish_all(scene.client.post("/api/v1/jobs", json=body).json())
        answer = scene.client.post(f"/api/v1/models/{protocol}/versions/1/evaluate", json={"dataset": "cells"})
        judged[protocol] = answer.status_code
        if answer.status_code == 202:
            scene.tell(scene.claim(), "finish", result={"metrics": {}, "judged": 1})
    assert judged == {"honest": 202, "paper": 422}


def test_a_data_set_that_the_model_was_trained_on_leaves_nothing_to_judge(scene: Any) -> None:
    _model(scene)
    answer = scene.client.post(EVALUATE, json={"dataset": "cells"})
    assert answer.status_code == 422 and "nothing is left" in answer.json()["detail"]


def test_new_images_are_judged_and_known_ones_listed(scene: Any) -> None:
    _model(scene)
    # images 8…11 are the model's own; 12…19 are new; class2 is unknown to it
    scene.seed("more", labels=[0, 1] * 5 + [2, 2], first=8)
    evaluation = scene.client.post(EVALUATE, json={"dataset": "more"})
    assert evaluation.status_code == 202, evaluation.text
    left_out = evaluation.json()["left_out"]
    assert Counter(item["code"] for item in left_out) == {"same_image": 4, "unknown_class": 2}
    assert all(item["name"].startswith("image-") and item["reason"] for item in left_out)
    claim = scene.claim()
    assert claim["task"]["kind"] == "evaluate"
    assert claim["evaluate"]["indices"] == [4, 5, 6, 7, 8, 9]
    url = f"/api/v1/tasks/{claim['task']['id']}/samples"
    items = scene.client.get(url, headers={"X-Task-Token": claim["token"]}).json()["items"]
    assert [item["index"] for item in items if item["url"]] == [4, 5, 6, 7, 8, 9]
    result = {"metrics": {"pooled": {"accuracy": 0.5}}, "judged": 6}
    assert scene.tell(claim, "finish", result=result).status_code == 204
    done = scene.client.get(f"/api/v1/evaluations/{evaluation.json()['id']}").json()
    assert (done["status"], done["judged"], done["metrics"]) == ("done", 6, result["metrics"])
    assert scene.client.get("/api/v1/jobs").json()["items"][0]["dataset"] == "cells"


def test_images_of_a_patient_whom_the_model_knows_are_left_out(scene: Any) -> None:
    groups = [f"p{n // 2}" for n in range(8)]
    scene.seed("train", labels=[0, 1] * 4, first=200, groups=groups)
    scene.seed("test", labels=[0, 1] * 2, first=300, groups=["p1", "p1", "p9", "p9"])
    body = {"dataset": "train", "model": "m", "settings": {"networks": ["resnet34"], "split": {"k": 2}}}
    scene.finish_all(scene.client.post("/api/v1/jobs", json=body).json())
    answer = scene.client.post("/api/v1/models/m/versions/1/evaluate", json={"dataset": "test"}).json()
    assert [item["code"] for item in answer["left_out"]] == ["same_group", "same_group"]


def test_opening_a_locked_test_part_is_counted(scene: Any) -> None:
    _model(scene, split={"kind": "kfold", "k": 2, "lock_test": 0.3})
    for number in (1, 2):
        answer = scene.client.post(EVALUATE, json={"dataset": "cells"}).json()
        assert answer["opening"] == number
        claim = scene.claim()
        assert len(claim["evaluate"]["indices"]) + len(answer["left_out"]) == 12
        scene.tell(claim, "finish", result={"metrics": {}, "judged": 1})


def test_a_failed_evaluation_says_why(scene: Any) -> None:
    _model(scene)
    scene.seed("more", labels=[0, 1], first=50)
    made = scene.client.post(EVALUATE, json={"dataset": "more"}).json()
    scene.tell(scene.claim(), "fail", reason="the picture can't be read")
    shown = scene.client.get(f"/api/v1/evaluations/{made['id']}").json()
    assert shown["status"] == "failed" and "can't be read" in shown["error"]


def test_weights_of_a_model_that_saw_the_judged_images_are_refused(scene: Any) -> None:
    _model(scene)
    body = {"networks": ["resnet34"], "split": {"k": 2}, "weights": "model:cells-resnet34"}
    answer = scene.client.post("/api/v1/jobs", json={"dataset": "cells", "settings": body})
    assert answer.status_code == 422 and "too good to be true" in answer.json()["detail"]
    scene.seed("new", labels=[0, 1] * 6, first=500)
    answer = scene.client.post("/api/v1/jobs", json={"dataset": "new", "settings": body})
    assert answer.status_code == 201, answer.text
    weights = scene.claim()["weights"]
    assert weights["kind"] == "model" and weights["url"].startswith("file://") and len(weights["sha256"]) == 64


def test_what_a_model_s_own_beginning_was_trained_on_counts_too(scene: Any) -> None:
    _model(scene)
    scene.seed("new", labels=[0, 1] * 6, first=500)
    settings = {"networks": ["resnet34"], "split": {"k": 2}, "weights": "model:cells-resnet34"}
    job = scene.client.post("/api/v1/jobs", json={"dataset": "new", "model": "child", "settings": settings}).json()
    scene.finish_all(job)
    for name in ("cells", "new"):
        answer = scene.client.post("/api/v1/models/child/versions/1/evaluate", json={"dataset": name})
        assert answer.status_code == 422 and "nothing is left" in answer.json()["detail"]


def test_a_copy_of_a_training_image_is_left_out(scene: Any) -> None:
    _model(scene)
    again, more = scene.seed("again"), scene.seed("more", labels=[0, 1] * 3, first=600)
    with scene.parts.database.begin("local") as session:
        theirs = session.get_one(ThumbRow, ("local", again.samples[3].sha256))
        flipped = np.frombuffer(theirs.pixels, np.uint8).reshape(48, 48, 3)[:, ::-1]
        session.get_one(ThumbRow, ("local", more.samples[2].sha256)).pixels = flipped.tobytes()
    answer = scene.client.post(EVALUATE, json={"dataset": "more"}).json()
    assert [(item["code"], item["name"]) for item in answer["left_out"]] == [
        ("near_duplicate", f"image-{more.samples[2].sha256[:6]}.png")
    ]


def test_a_foreign_model_is_judged_by_the_hashes_in_its_bundle(scene: Any) -> None:
    job = scene.start()
    data, near = scene.bundle(job), "0" * 15
    scene.seed("abroad", labels=[0, 1, 0], first=8)  # image 8 is the model's own, 12 and 13 are not here
    with scene.parts.database.read("local") as session:
        version = load_version(session, scene.parts.blobs, "local", "abroad")
    info = foreign(data, scene.parts.settings.home / "scratch", near)
    strange = replace(
        version, analysis=version.analysis.model_copy(update={"phashes": ("f" * 16, near + "1", "f" * 16)})
    )
    with scene.parts.database.read("local") as session:
        found = known(scene.parts, session, [info], strange, range(3))
    assert found == {0: "same_image", 1: "near_duplicate"}


def foreign(data: bytes, scratch: Path, phash: str) -> BundleInfo:
    """The bundle's description as if its training set, of the first image and a strange one, were elsewhere."""
    with opened([data], scratch) as (_, _, info):
        own = info.membership[8].model_copy(update={"phash": "a" * 16})
        other = info.membership[0].model_copy(update={"sha256": "0" * 64, "phash": phash + "0"})
        return info.model_copy(update={"manifest_hash": "0" * 64, "membership": (own, other)})
