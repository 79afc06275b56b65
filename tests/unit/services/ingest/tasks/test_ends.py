"""How jobs end: one network's failure is its own, and nothing is left lying that nobody names."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from aimic.errors import UnavailableError
from services.ingest.jobs import lifecycle
from services.ingest.jobs.lifecycle import LEFTOVERS_AFTER_S
from services.ingest.models.bundles import clear_scratch
from services.ingest.tasks.repository import let_die
from services.ingest.tasks.sweeper import Sweeper


def _under(scene: Any, claim: dict[str, Any]) -> set[str]:
    return {blob.key for blob in scene.parts.blobs.list(f"local/tasks/{claim['task']['id']}/")}


def _sweep_later(scene: Any) -> None:
    scene.later(LEFTOVERS_AFTER_S + 1)
    Sweeper(scene.parts).run_one()


def test_one_network_s_failure_leaves_the_others_alone_and_their_models_kept(scene: Any) -> None:
    job = scene.start(networks=["resnet34", "mobilenet_v2"])
    claim = scene.claim()
    assert claim["task"]["network"] == "resnet34"
    assert scene.tell(claim, "fail", reason="no memory").status_code == 204
    now = scene.job(job["id"])
    assert now["status"] == "running"
    by_network = {(task["network"], task["status"]) for task in now["tasks"]}
    assert by_network == {
        ("resnet34", "failed"),
        ("resnet34", "cancelled"),
        ("mobilenet_v2", "ready"),
        ("mobilenet_v2", "waiting"),
    }
    events = scene.client.get(f"/api/v1/jobs/{job['id']}/progress").json()["items"]
    told = [event["data"]["message"] for event in events if event["kind"] == "warning"]
    assert told == ["resnet34/fold/0 could not be done: no memory. The other networks go on."]
    scene.finish_all({**job, "settings": {**job["settings"], "networks": ["mobilenet_v2"]}})
    done = scene.job(job["id"])
    assert (done["status"], done["models"]) == ("failed", ["cells-mobilenet_v2:1"])
    assert done["error"] == "resnet34/fold/0 could not be done: no memory. The model of mobilenet_v2 is kept."


def test_a_failed_task_s_checkpoint_goes(scene: Any) -> None:
    scene.start()
    claim = scene.claim()
    objects = scene.write(claim, 1, state=b"x")
    assert scene.tell(claim, "checkpoint", step=1, objects=objects).status_code == 204
    scene.tell(claim, "fail", reason="broken")
    Sweeper(scene.parts).run_one()
    assert _under(scene, claim) == set()


@pytest.mark.parametrize("error", [UnavailableError("The records are away."), RuntimeError("unforeseen")])
def test_what_stands_in_one_lost_task_s_way_keeps_nothing_else_back(
    scene: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    lost = [scene.start() and scene.claim() for _ in range(3)]
    left = scene.write(lost[0], 1, state=b"x")["state"]
    scene.later(31)
    with scene.parts.database.begin("local") as session:
        let_die(session, "local", {left}, scene.parts.database.now(session))
    woken, stuck, real = [], {lost[1]["task"]["id"]}, lifecycle.wake

    def wake(session: Any, task: Any, now: Any) -> None:
        if task.id in stuck:
            raise error
        woken.append(task.id)
        real(session, task, now)

    monkeypatch.setattr(lifecycle, "wake", wake)
    sweeper = Sweeper(scene.parts)
    sweeper.run_one()
    assert sorted(woken) == sorted({claim["task"]["id"] for claim in lost} - stuck)
    assert not scene.parts.blobs.exists(left)
    stuck.clear()
    sweeper.run_one()
    assert sorted(woken) == sorted(claim["task"]["id"] for claim in lost), "each once, the stuck one when it could be"


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_what_was_written_and_never_reported_goes_when_the_job_is_over(scene: Any, end: str) -> None:
    job = scene.start()
    dead = scene.claim()
    lost = scene.write(dead, 1, state=b"never reported")
    scene.later(31)
    claim = scene.claim()
    assert (claim["task"]["id"], claim["fence"]) == (dead["task"]["id"], 2)
    kept = scene.write(claim, 1, logits=b"result")
    assert scene.tell(claim, "finish", result={}, objects=kept).status_code == 204
    other = scene.claim()
    scene.write(other, 3, state=b"on its way")
    _sweep_later(scene)
    assert _under(scene, dead) == {*lost.values(), *kept.values()}, "the job isn't over"
    if end == "cancel":
        scene.client.post(f"/api/v1/jobs/{job['id']}/cancel")
    else:
        while (again := scene.claim(kinds=["fold"])) is not None:
            scene.tell(again, "fail", reason="broken", retry=True)
    _sweep_later(scene)
    assert _under(scene, dead) == set(kept.values())
    assert _under(scene, other) == set()


def test_a_file_that_a_killed_worker_had_not_renamed_goes_once_it_is_old(scene: Any) -> None:
    job = scene.start()
    claim = scene.claim()
    key = scene.write(claim, 1, state=b"x")["state"]
    directory = Path(scene.parts.blobs.url_to_get(key, 60).removeprefix("file://")).parent
    old, new = directory / "~incoming-old", directory / "~incoming-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - 3600))
    scene.client.post(f"/api/v1/jobs/{job['id']}/cancel")
    _sweep_later(scene)
    assert [path.name for path in directory.iterdir()] == ["~incoming-new"]


def test_what_a_killed_process_had_unpacked_goes_at_the_next_start(tmp_path: Path) -> None:
    clear_scratch(tmp_path / "not there yet")
    for name in ("bundle-abc", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x")
    clear_scratch(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
