"""Settings of a job, and the tasks that come of them."""

import pytest
from pydantic import ValidationError

from aimic.domain.job import TaskKind, TrainSettings, plan_tasks
from aimic.domain.networks import NETWORKS
from aimic.domain.split import SplitRequest


def test_k_folds_then_refit_and_judge_then_package() -> None:
    plans = {plan.key: plan for plan in plan_tasks(TrainSettings(networks=("vgg16",)), 3, "refit")}
    assert set(plans) == {*(f"vgg16/fold/{f}" for f in range(3)), "vgg16/judge", "vgg16/refit", "vgg16/package"}
    folds = tuple(f"vgg16/fold/{f}" for f in range(3))
    assert plans["vgg16/judge"].after == plans["vgg16/refit"].after == folds
    assert set(plans["vgg16/package"].after) == {"vgg16/judge", "vgg16/refit"}


def test_a_hold_out_serves_its_own_fold_without_refit() -> None:
    kinds = [plan.kind for plan in plan_tasks(TrainSettings(networks=("vgg16",)), 1, "fold:0")]
    assert kinds == [TaskKind.FOLD, TaskKind.JUDGE, TaskKind.PACKAGE]


def test_frozen_is_one_task_for_all_folds() -> None:
    settings = TrainSettings(networks=("vgg16", "resnet34"), mode="frozen", weights="imagenet")
    kinds = [plan.kind for plan in plan_tasks(settings, 5, "refit")]
    assert kinds == 2 * [TaskKind.FROZEN, TaskKind.JUDGE, TaskKind.PACKAGE]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"networks": ("vgg17",)}, "unknown network"),
        ({"networks": ("vgg16", "vgg16")}, "named twice"),
        ({"networks": ("vgg16",), "mode": "frozen"}, "needs weights"),
        ({"networks": ("vgg16",), "mode": "last:0", "weights": "imagenet"}, "unknown mode"),
        ({"networks": ("vgg16",), "epohcs": 3}, "epohcs"),
        ({"networks": ()}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TrainSettings.model_validate(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kfold:3", ("kfold", 3)),
        ("kfold", ("kfold", 5)),
        ("holdout:0.3", ("holdout", 0.3)),
        ("column:fold", ("column", "fold")),
    ],
)
def test_splits_are_written_short(text: str, expected: tuple[str, object]) -> None:
    request = SplitRequest.parse(text)
    value = {"kfold": request.k, "holdout": request.fraction, "column": request.column}[request.kind]
    assert (request.kind, value) == expected


@pytest.mark.parametrize("text", ["thirds", "kfold:x", "kfold:1", "holdout:1.5", "column:"])
def test_other_splits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        SplitRequest.parse(text)


def test_the_ten_networks_of_the_paper() -> None:
    assert len(NETWORKS) == 10
    assert NETWORKS["inception_v3"].image_size == 299
    assert NETWORKS["mobilenet_v2"].weights == "MobileNet_V2_Weights.IMAGENET1K_V1"
