"""All tasks of a job one after another, as ingest would give them out."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimic.domain.job import TaskKind, TaskPlan, plan_tasks
from aimic.domain.work import EvaluateSpec, TaskInput
from aimic.errors import CorruptError, InvalidInputError
from aimic.nets.bundle import BundleInfo, unpack
from services.trainer import oof
from services.trainer.context import Outcome

MakeLab = Callable[..., Any]
ToInput = Callable[[Outcome], TaskInput]


@pytest.fixture
def run_job(to_input: ToInput) -> Callable[..., dict[str, Outcome]]:
    """Run the whole plan of a job; outcomes by task key."""

    def run(lab: Any) -> dict[str, Outcome]:
        done: dict[str, Outcome] = {}
        for plan in plan_tasks(lab.settings, lab.split.k, lab.serve):
            inputs = {key: to_input(done[key]) for key in plan.after}
            done[plan.key] = _run(lab, plan, inputs)
        return done

    return run


def _run(lab: Any, plan: TaskPlan, inputs: dict[str, TaskInput]) -> Outcome:
    outcome: Outcome = lab.run(plan.kind, fold=plan.fold, inputs=inputs)
    return outcome


def _bundle(outcome: Outcome, folder: Path) -> BundleInfo:
    return unpack(outcome.files["bundle.aimic"], folder)


def test_the_same_seed_gives_the_same_bundle(make_lab: MakeLab, run_job: Any, tmp_path: Path) -> None:
    key = "shufflenet_v2_x1_0/package"
    first, second = (run_job(make_lab())[key] for _ in range(2))
    assert re.fullmatch("[0-9a-f]{64}", first.result["bundle_hash"])
    assert first.result == second.result
    files = [outcome.files["bundle.aimic"].read_bytes() for outcome in (first, second)]
    assert files[0] == files[1]
    other = run_job(make_lab(seed=1))[key]
    assert other.result["bundle_hash"] != first.result["bundle_hash"]


def test_the_bundle_tells_the_job_truly(make_lab: MakeLab, run_job: Any, tmp_path: Path) -> None:
    lab = make_lab()
    done = run_job(lab)
    info = _bundle(done["shufflenet_v2_x1_0/package"], tmp_path / "bundle")
    parts = [oof.OutOfFold.read(done[f"shufflenet_v2_x1_0/fold/{fold}"].files[oof.NAME]) for fold in (0, 1)]
    right = sum(int((part.logits.argmax(1) == part.labels).sum()) for part in parts)
    assert info.metrics["pooled"]["accuracy"] == right / 24
    assert info.metrics["folds"][1]["best_epoch"] == done["shufflenet_v2_x1_0/fold/1"].result["best_epoch"]
    assert info.classes == ("round", "striped")
    assert info.class_mix == (12, 12)
    assert [member.fold for member in info.membership] == list(lab.split.folds)
    assert info.settings["seed"] == 0
    assert any("refit" in note for note in info.notes)


def test_one_fold_served_is_that_folds_weights(make_lab: MakeLab, run_job: Any, tmp_path: Path) -> None:
    lab = make_lab(k=2)
    lab.serve = "fold:1"
    done = run_job(lab)
    assert "shufflenet_v2_x1_0/refit" not in done
    assert "weights.safetensors" not in done["shufflenet_v2_x1_0/fold/0"].files
    _bundle(done["shufflenet_v2_x1_0/package"], tmp_path / "bundle")
    served = (tmp_path / "bundle" / "weights" / "0.safetensors").read_bytes()
    from safetensors.numpy import load

    trained = load(done["shufflenet_v2_x1_0/fold/1"].files["weights.safetensors"].read_bytes())
    found = load(served)
    assert set(found) == set(trained)
    assert all(np.array_equal(found[name], trained[name]) for name in found)


def test_a_missing_fold_is_not_pooled(make_lab: MakeLab, run_job: Any, to_input: ToInput) -> None:
    lab = make_lab()
    one = {"shufflenet_v2_x1_0/fold/0": to_input(lab.run(TaskKind.FOLD, fold=0))}
    with pytest.raises(CorruptError, match="12 images"):
        lab.run(TaskKind.JUDGE, inputs=one)
    twice = {**one, "shufflenet_v2_x1_0/fold/1": one["shufflenet_v2_x1_0/fold/0"]}
    with pytest.raises(CorruptError, match="two folds"):
        lab.run(TaskKind.JUDGE, inputs=twice)


def test_a_model_is_judged_on_the_images_it_was_given(make_lab: MakeLab, run_job: Any, to_input: ToInput) -> None:
    lab = make_lab()
    bundle = run_job(lab)["shufflenet_v2_x1_0/package"].files["bundle.aimic"]
    wish = EvaluateSpec(bundle_url=bundle.as_uri(), indices=(0, 3, 4, 9), left_out=())
    outcome = lab.run(TaskKind.EVALUATE, evaluate=wish)
    assert outcome.result["judged"] == 4
    said = outcome.result["metrics"]["statement"]
    assert "held-out" not in said
    assert "whether they are of patients that it was trained on is not known" in said
    assert np.array(outcome.result["metrics"]["pooled"]["confusion"]).sum(axis=1).tolist() == [2, 2]
    nothing = EvaluateSpec(bundle_url=bundle.as_uri(), indices=(), left_out=())
    with pytest.raises(InvalidInputError, match="nothing to judge"):
        lab.run(TaskKind.EVALUATE, evaluate=nothing)


def test_the_paper_protocol_says_so(make_lab: MakeLab, to_input: ToInput) -> None:
    lab = make_lab(protocol="paper")
    folds = {f"n/fold/{fold}": lab.run(TaskKind.FOLD, fold=fold) for fold in (0, 1)}
    judged = lab.run(TaskKind.JUDGE, inputs={key: to_input(outcome) for key, outcome in folds.items()})
    assert judged.result["metrics"]["protocol"] == "paper"
    log = folds["n/fold/0"].result["log"]
    best = max(log, key=lambda row: row["accuracy"])
    assert folds["n/fold/0"].result["best_epoch"] == best["epoch"]
    part = oof.OutOfFold.read(folds["n/fold/0"].files[oof.NAME])
    assert (part.logits.argmax(1) == part.labels).mean() == best["accuracy"]


def _two_folds(lab: Any, to_input: ToInput) -> dict[str, TaskInput]:
    return {f"n/fold/{fold}": to_input(lab.run(TaskKind.FOLD, fold=fold)) for fold in (0, 1)}


def _elsewhere(task: TaskInput) -> TaskInput:
    machine = {**task.result["machine"], "processor": "another", "device": "cuda", "precision": "bfloat16"}
    return task.model_copy(update={"result": {**task.result, "machine": machine}})


def test_folds_from_unlike_machines_are_said_in_the_numbers_and_on_the_card(
    make_lab: MakeLab, to_input: ToInput, tmp_path: Path
) -> None:
    lab = make_lab(epochs=1)
    folds = _two_folds(lab, to_input)
    assert lab.run(TaskKind.JUDGE, inputs=folds).result["metrics"]["warnings"] == []
    folds["n/fold/1"] = _elsewhere(folds["n/fold/1"])
    judged = to_input(lab.run(TaskKind.JUDGE, inputs=folds))
    (warning,) = judged.result["metrics"]["warnings"]
    assert "another (cuda, bfloat16" in warning
    assert any(report.data.get("message") == warning for report in lab.reports)
    refit = to_input(lab.run(TaskKind.REFIT, inputs=folds))
    packed = lab.run(TaskKind.PACKAGE, inputs={"n/refit": refit, "n/judge": judged})
    _bundle(packed, tmp_path / "bundle")
    assert warning in (tmp_path / "bundle" / "model_card.md").read_text()
    packed = lab.run(TaskKind.PACKAGE, inputs={"n/refit": _third(refit), "n/judge": judged})
    assert any("fitted on a third" in note for note in _bundle(packed, tmp_path / "other").notes)


def _third(refit: TaskInput) -> TaskInput:
    machine = {**refit.result["machine"], "processor": "a third"}
    return refit.model_copy(update={"result": {**refit.result, "machine": machine}})


def test_a_fold_that_moved_between_machines_is_said(make_lab: MakeLab, to_input: ToInput) -> None:
    lab = make_lab(epochs=1)
    folds = _two_folds(lab, to_input)
    moved = {**folds["n/fold/0"].result, "resumed_elsewhere": True}
    folds["n/fold/0"] = folds["n/fold/0"].model_copy(update={"result": moved})
    (warning,) = lab.run(TaskKind.JUDGE, inputs=folds).result["warnings"]
    assert "n/fold/0" in warning and "interrupted" in warning


@pytest.mark.parametrize("fitted", [True, False])
def test_a_temperature_fitted_on_the_reported_images_is_said(
    make_lab: MakeLab, to_input: ToInput, tmp_path: Path, fitted: bool
) -> None:
    lab = make_lab(epochs=1)
    lab.serve = "fold:0"
    folds = _two_folds(lab, to_input)
    judged = to_input(lab.run(TaskKind.JUDGE, inputs=folds))
    judged.result["temperature"].update(fitted=fitted)
    packed = lab.run(TaskKind.PACKAGE, inputs={"n/fold/0": folds["n/fold/0"], "n/judge": judged})
    info = _bundle(packed, tmp_path / "bundle")
    assert any("fitted on the very images" in note for note in info.notes) is fitted


@pytest.mark.parametrize(("named", "patients"), [(range(24), "known"), ((3, 5), "partly"), ((), "unknown")])
def test_patients_are_known_only_when_every_image_has_one(
    make_lab: MakeLab, to_input: ToInput, named: Sequence[int], patients: str
) -> None:
    lab = make_lab(epochs=1)
    folds = _two_folds(lab, to_input)
    lab.samples = tuple(s.model_copy(update={"group": s.index if s.index in named else None}) for s in lab.samples)
    metrics = lab.run(TaskKind.JUDGE, inputs=folds).result["metrics"]
    assert metrics["patients"] == patients
    assert ("no patient was in training" in metrics["statement"]) is (patients == "known")
