"""The quickest executor wins, of those whose answers are eager torch's."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aimic.domain.executor import ExecutorChoice, Timing
from aimic.nets.bundle import bundle_hash, verify
from aimic.nets.executors import choose as module
from aimic.nets.executors.admission import BATCH, batch_difference, compared, judgement
from aimic.nets.executors.base import Source
from aimic.nets.executors.choose import choose, quickest
from aimic.nets.executors.eager import Eager
from aimic.nets.executors.kinds import KINDS, Kind
from aimic.nets.executors.machine import machine_class
from aimic.nets.info import BundleInfo
from aimic.nets.package import admit
from aimic.nets.restoring import check_tensors
from tests.judged import alike


class Played:
    """Eager torch under another name, with something changed, so many times as slow."""

    def __init__(self, source: Source, name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self.name = name
        self._eager = Eager(source)
        self._change = change

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._change(self._eager.run(pixels))


def _kind(name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Kind:
    return Kind(name, "cpu", "fp32", lambda source: Played(source, name, change))


def _crash(_: Any) -> Any:
    raise RuntimeError("no such instruction")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the candidates but for eager torch, and what the clock says of each."""

    def play(kinds: list[Kind], seconds: dict[str, float]) -> None:
        every = (KINDS["torch-eager-fp32-cpu"], *kinds)
        for kind in kinds:
            monkeypatch.setitem(KINDS, kind.name, kind)
        monkeypatch.setattr(module, "candidates", lambda _, reduced: every)
        monkeypatch.setattr(
            module,
            "timing",
            lambda executor, inputs: Timing(
                executor=executor.name, one_s=seconds[executor.name], many_s=seconds[executor.name] * 9, images=32
            ),
        )

    return play


def _chosen(directory: Path) -> ExecutorChoice:
    return choose(directory, torch.device("cpu"))


@pytest.fixture
def admitting(bundle_dir: Path, tmp_path: Path) -> Path:
    """A bundle whose record admits what these tests play."""
    directory = Path(shutil.copytree(bundle_dir, tmp_path / "admitting"))
    admit(directory, alike("same", "wrong", "rough", "nothing", "crashes", "fails"))
    return directory


def test_the_quickest_that_answers_the_same_is_chosen(admitting: Path, played: Callable[..., None]) -> None:
    played(
        [
            _kind("same", lambda logits: logits),
            _kind("wrong", lambda logits: logits[:, ::-1]),
            _kind("rough", lambda logits: logits + np.array([0.02, 0, 0], np.float32)),
            _kind("nothing", lambda logits: logits * np.float32("nan")),
            Kind("crashes", "cpu", "fp32", _crash),
            _kind("fails", _crash),
        ],
        {"torch-eager-fp32-cpu": 1.0, "same": 0.5, "wrong": 0.1, "rough": 0.1, "nothing": 0.1},
    )
    choice = _chosen(admitting)
    assert choice.executor == "same"
    assert choice.bundle_hash == bundle_hash(admitting) and choice.machine_class == machine_class(1)
    assert [timing.executor for timing in choice.timings] == ["torch-eager-fp32-cpu", "same"]
    judged = {admission.executor: admission for admission in choice.admissions}
    assert {name for name, admission in judged.items() if admission.admitted} == {"torch-eager-fp32-cpu", "same"}
    assert judged["wrong"].labels_changed > 0 and "another label" in judged["wrong"].reason
    assert (judged["rough"].largest_difference or 0) > 1e-3
    assert judged["nothing"].reason == "It gave no numbers."
    assert not {"crashes", "fails"} & set(judged)
    assert {admission.images for admission in choice.admissions} == {32}
    assert ExecutorChoice.model_validate_json(choice.model_dump_json()) == choice


def test_one_that_fails_while_its_time_is_taken_is_left_out(admitting: Path, played: Callable[..., None]) -> None:
    played(
        [_kind("same", lambda logits: logits), _kind("rough", lambda logits: logits)],
        {"torch-eager-fp32-cpu": 1.0, "rough": 0.5},  # of "same" there is no time: KeyError
    )
    choice = _chosen(admitting)
    assert choice.executor == "rough"
    assert {admission.executor for admission in choice.admissions} == {"torch-eager-fp32-cpu", "rough"}


def test_what_the_bundle_does_not_admit_is_not_measured(
    bundle_dir: Path, tmp_path: Path, played: Callable[..., None]
) -> None:
    """However alike it answers here: neither who wasn't judged on out-of-fold images, nor who failed there."""
    played([_kind("same", lambda logits: logits)], {"torch-eager-fp32-cpu": 1.0, "same": 0.1})
    choice = _chosen(bundle_dir)
    assert choice.executor == "torch-eager-fp32-cpu" and len(choice.timings) == 1
    refused = next(each for each in choice.admissions if each.executor == "same")
    assert (refused.admitted, refused.images, refused.judged_on) == (False, 0, "out-of-fold images")
    for change in ({"labels_changed": 1}, {"abstentions_changed": 1}, {"beyond": 1}, {"allowed": 5e-3}):
        directory = Path(shutil.copytree(bundle_dir, tmp_path / next(iter(change))))
        admit(directory, alike("same", **change))
        choice = _chosen(directory)
        assert choice.executor == "torch-eager-fp32-cpu"
        assert [each.images for each in choice.admissions if not each.admitted] == [9]


def test_counts_of_images_are_what_a_bundle_keeps(bundle_dir: Path) -> None:
    info = verify(bundle_dir).model_copy(update={"classes": ("a", "b"), "thresholds": {"a": 0.8, "b": 0.0}})
    before = [[2.0, 0.0], [0.1, 0.0], [np.log(0.8001 / 0.1999), 0.0], [0.0, 3.0], [0.0, 3.0]]
    after = [[2.0, 0.0], [0.0, 0.1], [np.log(0.7999 / 0.2001), 0.0], [0.0, np.nan], [0.0, 3.02]]
    first, second = (np.array(rows, np.float32) for rows in (before, after))
    found, largest = judgement("x", "fp32", info, first, second)
    assert (found.images, found.labels_changed, found.abstentions_changed, found.near_threshold) == (5, 1, 1, 1)
    assert (found.beyond, found.allowed, largest, found.admits) == (2, 1e-3, 1.0, False)
    assert judgement("x", "fp32", info, first, first)[0].admits
    assert judgement("x", "fp32", info, first, first[:2])[0].beyond == 5


def test_a_little_quicker_is_not_enough(admitting: Path, played: Callable[..., None]) -> None:
    played([_kind("same", lambda logits: logits)], {"torch-eager-fp32-cpu": 1.0, "same": 0.97})
    assert _chosen(admitting).executor == "torch-eager-fp32-cpu"


def test_one_image_and_a_batch_count_the_same() -> None:
    eager, one, many = (
        Timing(executor=name, one_s=a, many_s=b, images=32)
        for name, a, b in (("eager", 1.0, 10.0), ("one", 0.25, 10.0), ("many", 1.0, 2.0))
    )
    assert quickest([eager, one, many]) == "many"
    assert quickest([eager, one, many], weight_of_one=0.9) == "one"


def test_the_least_time_counts() -> None:
    waits = iter([0.0, 0.4, 0.02, 0.4, 0.4, 0.4])
    assert 0.02 <= module._least(lambda: time.sleep(next(waits))) < 0.4


def test_an_answer_that_depends_on_its_batch_is_not_admitted(bundle_dir: Path) -> None:
    info, (inputs, _) = verify(bundle_dir), check_tensors(bundle_dir)

    def steady(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(pixels.mean(axis=(1, 2)) / 50, np.float32)

    def by_batch(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return steady(pixels) + np.array([len(pixels) * 1e-5, 0, 0], np.float32)

    apart = batch_difference(by_batch, inputs, info)
    assert apart > BATCH > batch_difference(steady, inputs, info)
    judged = compared("x", "fp32", info, steady(inputs), by_batch(inputs), batch_difference=apart)
    assert not judged.admitted and "batch" in judged.reason
    assert compared("x", "bf16", info, steady(inputs), by_batch(inputs), batch_difference=apart).admitted


def _judged(
    info: BundleInfo, before: list[float], after: list[float], precision: str = "fp32"
) -> tuple[int, int, bool]:
    """Of two classes' probabilities, the first class's given."""
    first, second = (np.array([[np.log(p / (1 - p)), 0.0] for p in values], np.float32) for values in (before, after))
    found = compared("x", precision, info, first, second)
    return found.abstentions_changed, found.near_threshold, found.admitted


def test_abstentions_may_change_at_the_threshold_only(bundle_dir: Path) -> None:
    info = verify(bundle_dir).model_copy(update={"classes": ("a", "b"), "thresholds": {"a": 0.8, "b": 0.0}})
    assert _judged(info, [0.9, 0.8004, 0.7], [0.9, 0.7998, 0.7]) == (0, 1, True)
    assert _judged(info, [0.9, 0.81, 0.7], [0.9, 0.79, 0.7]) == (1, 0, False)
    assert _judged(info, [0.9, 0.805, 0.7], [0.9, 0.8009, 0.7], "bf16") == (0, 0, True)
    assert _judged(info, [0.9, 0.81, 0.7], [0.9, 0.80, 0.7], "bf16") == (0, 0, False)
