"""Packaging sees which executors answer as eager torch does, on the images that the job's folds judged."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimic.domain.job import TaskKind
from aimic.domain.work import CheckpointRef, TaskInput
from aimic.nets.bundle import BundleInfo, Temperature, unpack
from services.trainer import oof, trying
from services.trainer.admitting import JOURNAL, Judged, to_look_at
from services.trainer.context import Context, Outcome, StoppedError
from services.trainer.settings import Settings
from services.trainer.tasks import run_task
from tests.judged import alike

MakeLab = Callable[..., Any]
ToInput = Callable[[Outcome], TaskInput]
EXPORTED = "torch-export-fp32-cpu"
OTHERS = ("onnxruntime-fp32-cpu", "openvino-fp32-cpu")


class Packing:
    """A job that is ready to be packaged."""

    def __init__(self, lab: Any, to_input: ToInput) -> None:
        self.lab = lab
        folds = {f"n/fold/{fold}": to_input(lab.run(TaskKind.FOLD, fold=fold)) for fold in (0, 1)}
        judged = to_input(lab.run(TaskKind.JUDGE, inputs=folds))
        self.inputs = {"n/judge": judged, "n/refit": to_input(lab.run(TaskKind.REFIT, inputs=folds))}

    def context(self, executors: str, images: int = 512, **more: Any) -> Context:
        made: Context = self.lab.context(self.lab.claim(TaskKind.PACKAGE, inputs=self.inputs, **more))
        spec = made.spec.model_copy(update={"executors": executors, "executor_images": images})
        return Context(spec, made.directory, made.report, made.stop)

    def info(self, outcome: Outcome, folder: Path) -> BundleInfo:
        return unpack(outcome.files["bundle.aimic"], folder, outcome.result["bundle_hash"])


@pytest.fixture
def packing(make_lab: MakeLab, to_input: ToInput) -> Packing:
    return Packing(make_lab(epochs=1), to_input)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Another program in place of the one that judges; the file to which it may write."""

    def play(program: str) -> Path:
        file, notes = tmp_path / "played.py", tmp_path / "notes"
        lines = f"import json, os, sys\nnotes = open({str(notes)!r}, 'a')\nnames = sys.argv[-1].split(',')\n"
        says = "def say(**word):\n    print(json.dumps(word), flush=True)\n\n"
        counts = "labels_changed=0, abstentions_changed=0, near_threshold=0, allowed=1e-3, beyond=0"
        alike = f"def alike(name):\n    say(executor=name, judgement=dict(executor=name, images=24, {counts}))\n\n"
        file.write_text(lines + says + alike + program)
        monkeypatch.setattr(trying, "_COMMAND", (sys.executable, str(file)))
        return notes

    return play


def test_the_bundle_keeps_how_executors_answered(packing: Packing, tmp_path: Path) -> None:
    """By the real process. Twice the same: what is kept is part of the bundle's hash."""
    first, second = (run_task(packing.context(EXPORTED)) for _ in range(2))
    assert first.result["bundle_hash"] == second.result["bundle_hash"]
    info = packing.info(first, tmp_path / "bundle")
    (kept,) = info.executors
    assert (kept.executor, kept.images, kept.admits) == (EXPORTED, 24, True)
    assert first.result["executors"]["largest_differences"][EXPORTED] <= 1e-3
    phases = [report.data.get("phase") for report in packing.lab.reports]
    assert "executors" in phases
    without = run_task(packing.context("none"))
    assert without.result["bundle_hash"] != first.result["bundle_hash"]
    assert packing.info(without, tmp_path / "without").executors == ()


def test_who_takes_over_goes_on_with_the_next(packing: Packing, played: Callable[[str], Path], tmp_path: Path) -> None:
    notes = played("notes.write(','.join(names) + ';')\nfor name in names:\n    alike(name)\n")
    ours = run_task(packing.context(EXPORTED)).result["executors"]["made_with"]
    packing.lab.reports.clear()
    notes.write_text("")
    done = Judged(made_with=ours, judgements=tuple(alike(OTHERS[1])), left_out={"openvino-bf16-cpu": "no"})
    file = tmp_path / JOURNAL
    file.write_text(done.model_dump_json())
    earlier = CheckpointRef(step=2, objects={JOURNAL: file.as_uri()})
    outcome = run_task(packing.context("all", checkpoint=earlier))
    assert notes.read_text() == f"{EXPORTED},{OTHERS[0]};"
    info = packing.info(outcome, tmp_path / "bundle")
    assert [each.executor for each in info.executors] == [EXPORTED, *OTHERS]
    steps = [report.step for report in packing.lab.reports if JOURNAL in report.files]
    assert steps == [3, 4]
    last = packing.lab.last_checkpoint()
    assert Judged.model_validate(outcome.result["executors"]).over() == {EXPORTED, *OTHERS, "openvino-bf16-cpu"}
    assert last.step == 4


@pytest.mark.parametrize("other", [None, {"openvino": "1.0"}, {"machine": "another"}])
def test_what_was_judged_with_other_libraries_or_elsewhere_is_judged_anew(
    packing: Packing, played: Callable[[str], Path], tmp_path: Path, other: dict[str, str] | None
) -> None:
    """The bundle names our libraries. Checkpoints go on from the last all the same: an earlier step is refused."""
    notes = played("notes.write(','.join(names) + ';')\nfor name in names:\n    alike(name)\n")
    ours = run_task(packing.context(EXPORTED)).result["executors"]["made_with"]
    assert set(ours) > {"torch", "openvino", "onnxruntime", "pillow", "machine"}
    packing.lab.reports.clear()
    notes.write_text("")
    theirs = {} if other is None else {**ours, **other}
    done = Judged(made_with=theirs, judgements=tuple(alike(OTHERS[1])), left_out={"onnxruntime-fp32-cpu": "no"})
    file = tmp_path / JOURNAL
    file.write_text(done.model_dump_json())
    earlier = CheckpointRef(step=2, objects={JOURNAL: file.as_uri()})
    outcome = run_task(packing.context(",".join(OTHERS), checkpoint=earlier))
    assert notes.read_text() == f"{','.join(OTHERS)};"
    found = Judged.model_validate(outcome.result["executors"])
    assert (found.made_with, found.left_out, len(found.judgements)) == (ours, {}, 2)
    assert [report.step for report in packing.lab.reports if JOURNAL in report.files] == [3, 4]


def test_an_executor_that_takes_its_process_along_is_left_out_and_said(
    packing: Packing, played: Callable[[str], Path], tmp_path: Path
) -> None:
    notes = played(
        "notes.write(names[0] + ';')\nnotes.flush()\n"
        "for name in names:\n    say(executor=name)\n"
        "    if name.startswith('onnx'):\n        os.abort()\n    alike(name)\n"
    )
    outcome = run_task(packing.context(",".join((EXPORTED, *OTHERS))))
    assert notes.read_text() == f"{EXPORTED};{OTHERS[0]};{OTHERS[1]};"
    info = packing.info(outcome, tmp_path / "bundle")
    assert [each.executor for each in info.executors] == [EXPORTED, OTHERS[1]]
    (warning,) = _warnings(packing)
    assert OTHERS[0] in warning and "-6" in warning


def test_without_eager_torch_nothing_is_kept_and_the_model_is_packed_all_the_same(
    packing: Packing, played: Callable[[str], Path], tmp_path: Path
) -> None:
    played("sys.exit('no memory')\n")
    outcome = run_task(packing.context(",".join(OTHERS)))
    assert packing.info(outcome, tmp_path / "bundle").executors == ()
    assert len(_warnings(packing)) == 2


def test_what_nothing_is_said_of_is_left_out(packing: Packing, played: Callable[[str], Path]) -> None:
    played("print('a library prints', flush=True)\nalike(names[0])\n")
    outcome = run_task(packing.context(",".join(OTHERS)))
    assert [each["executor"] for each in outcome.result["executors"]["judgements"]] == [OTHERS[0]]
    (warning,) = _warnings(packing)
    assert OTHERS[1] in warning and "without a word" in warning


def test_of_reduced_precision_that_a_machine_lacks_only_the_result_tells(
    packing: Packing, played: Callable[[str], Path]
) -> None:
    """Most CPUs have no bfloat16, and the person who started the job didn't ask for it."""
    played("for name in names:\n    say(executor=name, cause='no such thing')\n")
    outcome = run_task(packing.context(f"{OTHERS[0]}, openvino-bf16-cpu"))
    assert set(outcome.result["executors"]["left_out"]) == {OTHERS[0], "openvino-bf16-cpu"}
    (warning,) = _warnings(packing)
    assert OTHERS[0] in warning and "no such thing" in warning


def test_it_stops_when_it_is_asked_to(packing: Packing, played: Callable[[str], Path]) -> None:
    """However long the other process would take, which doesn't outlive us."""
    notes = played("notes.write(str(os.getpid()))\nnotes.close()\nsay(executor=names[0])\nsys.stdin.read()\n")
    context = packing.context(EXPORTED)
    report = context.report.batch

    def stop(*told: Any, **more: Any) -> None:
        report(*told, **more)
        if told[0] == "executors":
            context.stop.set()

    context.report.batch = stop  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        run_task(context)
    with pytest.raises(ProcessLookupError):
        os.kill(int(notes.read_text()), 0)


def test_names_that_the_machine_lacks_are_said(packing: Packing) -> None:
    outcome = run_task(packing.context("tensorrt, torch-eager-fp32-cpu"))
    assert outcome.result["executors"]["judgements"] == []
    (warning,) = _warnings(packing)
    assert "'tensorrt'" in warning


def test_a_job_judged_by_an_earlier_version_is_packed_without(packing: Packing) -> None:
    judged = packing.inputs["n/judge"]
    packing.inputs["n/judge"] = judged.model_copy(update={"objects": {}})
    assert run_task(packing.context("all")).result["executors"]["judgements"] == []


def _warnings(packing: Packing) -> list[str]:
    return [report.data["message"] for report in packing.lab.reports if "message" in report.data]


def _judged(margins: Sequence[float]) -> oof.OutOfFold:
    logits = np.array([[margin, 0.0] for margin in margins], np.float32)
    where = np.arange(len(margins), dtype=np.int64)
    return oof.OutOfFold(where + 100, where * 0, where * 0, logits)


@pytest.fixture
def info(packing: Packing, tmp_path: Path) -> BundleInfo:
    return packing.info(run_task(packing.context("none")), tmp_path / "any")


def test_half_of_the_images_are_those_most_easily_decided_otherwise(info: BundleInfo) -> None:
    judged = _judged([3.0] * 40 + [0.2, -0.1, 0.3, 0.05] + [5.0] * 40)
    chosen = to_look_at(judged, info, 8)
    assert set(chosen) >= {140, 141, 142, 143} and len(set(chosen)) == 8
    assert chosen == sorted(chosen) == to_look_at(judged, info, 8)
    assert min(chosen) < 120 and max(chosen) > 160  # the rest from all parts
    assert to_look_at(judged, info, 1) == [143]
    assert to_look_at(judged, info, 500) == list(range(100, 184))


def test_near_a_threshold_is_as_doubtful(info: BundleInfo) -> None:
    bounded = info.model_copy(update={"thresholds": {info.classes[0]: 0.95}, "temperature": Temperature()})
    judged = _judged([float(np.log(p / (1 - p))) for p in (0.99, 0.951, 0.8, 0.6)])
    assert to_look_at(judged, bounded, 1) == [101]
    assert to_look_at(judged, info.model_copy(update={"temperature": Temperature()}), 1) == [103]


def test_a_trainer_tries_all_that_its_machine_has_unless_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIMIC_TRAINER_EXECUTORS")
    assert (Settings().trainer_executors, Settings().trainer_executor_images) == ("all", 512)
