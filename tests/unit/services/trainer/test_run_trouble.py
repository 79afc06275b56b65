"""A task whose ingest or store hangs or is away: the worker waits for what may come back, and ends in time."""

import threading
import time
from typing import Any

import pytest

from aimic.domain.job import ProgressKind
from aimic.domain.work import ProgressItem
from aimic.errors import UnavailableError
from services.trainer import line, run, uploads
from services.trainer.reports import Report
from services.trainer.run import Ending
from tests.unit.services.trainer.played import checkpoint, epoch


def test_a_worker_that_is_asked_to_stop_before_it_began_hands_back_at_once(stage: Any) -> None:
    scene = stage()
    scene.stopping.set()
    assert scene.play() is Ending.RELEASED
    assert scene.child.asked == []
    assert [name for name, _ in scene.ingest.calls][-1] == "release"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("away", ["checkpoint", "progress", "finish", "release"])
def test_whatever_is_away_the_worker_ends_within_its_grace(stage: Any, away: str) -> None:
    scene = stage(epoch(1), settings={"trainer_grace_s": 0.6})
    scene.ingest.raises[away] = [UnavailableError("away")] * 1000
    scene.child.reports.append(checkpoint(scene.home, 3))
    if away == "finish":
        scene.child.reports.append(Report(event="result"))
    scene.child.begun = scene.stopping.set
    began = time.monotonic()
    assert scene.play() is Ending.RELEASED
    assert time.monotonic() - began < 20
    assert scene.ingest.names()[-1] == "release"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("hangs", ["renew", "progress", "checkpoint", "finish"])
def test_a_call_that_hangs_holds_up_neither_the_end_nor_the_process(stage: Any, hangs: str) -> None:
    scene = stage(epoch(1), lease_s=0.1, settings={"trainer_grace_s": 0.6})
    ever = threading.Event()
    setattr(scene.ingest, hangs, lambda *_: ever.wait(60))
    scene.child.reports.append(checkpoint(scene.home, 3))
    if hangs == "finish":
        scene.child.reports.append(Report(event="result"))
    scene.child.begun = scene.stopping.set
    began = time.monotonic()
    assert scene.play() is Ending.RELEASED
    assert time.monotonic() - began < 20
    assert "release" in scene.ingest.names()
    ever.set()


def test_a_checkpoint_that_could_not_be_stored_is_tried_again(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "FIRST_PAUSE_S", 0.01)
    scene = stage(settings={"trainer_grace_s": 10})
    scene.ingest.raises["checkpoint"] = [UnavailableError("away")] * 2
    scene.child.reports.append(checkpoint(scene.home, 3))
    scene.child.begun = scene.stopping.set
    assert scene.play() is Ending.RELEASED
    assert scene.ingest.names() == ["checkpoint", "checkpoint", "checkpoint", "release"]


def test_a_child_whose_addresses_expired_begins_again_with_fresh_ones(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BEGIN_AGAIN_S", 0.01)
    refused = Report(event="failed", reason="The address has expired.", retry=True, store="refused")
    scene = stage(refused, refused, Report(event="result"))
    assert scene.play() is Ending.DONE
    assert scene.child.asked == ["task"] * 3
    assert scene.ingest.names() == ["claimed", "samples", "claimed", "samples", "finish"]


def test_a_store_that_refuses_every_address_is_told(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BEGIN_AGAIN_S", 0.001)
    refused = Report(event="failed", reason="The address has expired.", retry=True, store="refused")
    scene = stage(*[refused] * 20)
    assert scene.play() is Ending.FAILED
    assert scene.ingest.calls[-1] == ("fail", "The address has expired.")


def test_a_store_that_is_away_is_waited_for_and_told_of_once(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BEGIN_AGAIN_S", 0.001)
    monkeypatch.setattr(run, "LONGEST_S", 0.01)
    away = Report(event="failed", reason="The store is away.", retry=True, store="away")
    scene = stage(*[away] * 20, Report(event="result"))
    assert scene.play() is Ending.DONE
    told = [item for name, events in scene.ingest.calls if name == "progress" for item in events]
    assert [item.data["message"] for item in told] == [
        "The store is away. The task waits for it and goes on by itself."
    ]


@pytest.mark.timeout(120)
def test_a_child_that_is_alive_and_silent_is_ended_and_its_task_tried_again(stage: Any) -> None:
    scene = stage(epoch(1), settings={"trainer_silence_s": 0.3})
    assert scene.play() is Ending.FAILED
    assert scene.child.closed
    name, reason = scene.ingest.calls[-1]
    assert name == "fail" and "no sign of life" in reason


@pytest.mark.timeout(120)
def test_a_child_that_says_that_it_lives_may_take_its_time(stage: Any) -> None:
    scene = stage(settings={"trainer_silence_s": 0.3})
    left = 6

    def says_little(timeout_s: float) -> Report:
        nonlocal left
        time.sleep(0.1)
        left -= 1
        return Report(event="alive" if left else "result")

    scene.child.next_report = says_little
    assert scene.play() is Ending.DONE
    assert scene.ingest.names() == ["finish"], "and nobody need hear of it"


def test_what_waits_for_an_ingest_that_is_away_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "MOST_WAITING", 3)
    task: Any = None
    waiting = line.Line(task, 30)
    for number in range(10):
        waiting.add(ProgressItem(kind=ProgressKind.EPOCH, data={"epoch": number}))
        waiting.add(ProgressItem(kind=ProgressKind.BATCH, data={"batch": number}))
    kept = [(item.kind, *item.data.values()) for item in waiting._events]
    assert kept == [(ProgressKind.EPOCH, 8), (ProgressKind.EPOCH, 9), (ProgressKind.BATCH, 9)]
    waiting.close()
