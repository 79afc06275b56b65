"""Loading refuses a model that isn't what it says, even one that was sealed properly."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from aimic.errors import CorruptError, InvalidInputError
from aimic.nets.bundle import BundleInfo, verify, write
from aimic.nets.executors import kinds
from aimic.nets.executors.base import Executor, Source
from aimic.nets.executors.eager import Eager
from aimic.nets.info import Head
from aimic.nets.package import admit, check_inputs
from aimic.nets.runner import Runner, load
from aimic.nets.statefile import load_safetensors
from tests.judged import alike


def _load(directory: Path) -> Runner:
    return load(directory, torch.device("cpu"), Lock())


def _arrays(directory: Path, member: str) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in load_safetensors(directory / member).items()}


@pytest.fixture
def rewritten(bundle_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """The same bundle with something changed, sealed anew: only its check can tell."""

    def make(
        info: BundleInfo | None = None, logits: NDArray[np.float32] | None = None, **weights: NDArray[Any]
    ) -> Path:
        check = _arrays(bundle_dir, "check.safetensors")
        state = {**_arrays(bundle_dir, "weights/0.safetensors"), **weights}
        target = tmp_path / "rewritten"
        shutil.rmtree(target, ignore_errors=True)
        write(
            target,
            info or verify(bundle_dir),
            [state],
            check["inputs"],
            logits if logits is not None else check["logits"],
        )
        return target

    return make


def test_loads_what_was_rewritten_unchanged(rewritten: Callable[..., Path]) -> None:
    assert _load(rewritten()).info.network == "shufflenet_v2_x1_0"


def test_other_weights_fail_the_check(bundle_dir: Path, rewritten: Callable[..., Path]) -> None:
    head = _arrays(bundle_dir, "weights/0.safetensors")["fc.weight"]
    with pytest.raises(CorruptError, match="does not answer as it did"):
        _load(rewritten(**{"fc.weight": head[::-1].copy()}))
    with pytest.raises(CorruptError, match="does not answer"):
        _load(rewritten(**{"fc.bias": np.full(3, np.nan, np.float32)}))


def test_other_preprocessing_fails_the_check(bundle_dir: Path, rewritten: Callable[..., Path]) -> None:
    info = verify(bundle_dir)
    other = info.preprocessing.model_copy(update={"mean": (0.9, 0.1, 0.5)})
    with pytest.raises(CorruptError, match="does not answer"):
        _load(rewritten(info.model_copy(update={"preprocessing": other})))


@pytest.mark.parametrize(("by", "good"), [(5e-4, True), (2e-3, False)])
def test_rounding_passes_and_more_does_not(
    bundle_dir: Path, rewritten: Callable[..., Path], by: float, good: bool
) -> None:
    logits = _arrays(bundle_dir, "check.safetensors")["logits"]
    logits[5, 1] += np.float32(by) * np.abs(logits).max()
    if good:
        _load(rewritten(logits=logits))
    else:
        with pytest.raises(CorruptError, match="does not answer"):
            _load(rewritten(logits=logits))


def test_weights_of_another_shape(bundle_dir: Path, rewritten: Callable[..., Path]) -> None:
    info = verify(bundle_dir).model_copy(update={"head": Head(layer="fc", features=7)})
    with pytest.raises(CorruptError, match="weights don't fit"):
        _load(rewritten(info))
    with pytest.raises(CorruptError, match="weights don't fit"):
        _load(rewritten(**{"fc.bias": np.zeros(9, np.float32)}))


def test_unknown_network(bundle_dir: Path, rewritten: Callable[..., Path]) -> None:
    with pytest.raises(CorruptError, match="weights don't fit"):
        _load(rewritten(verify(bundle_dir).model_copy(update={"network": "alexnet"})))


def test_writing_into_the_files_later_changes_nothing(rewritten: Callable[..., Path]) -> None:
    """safetensors maps files into memory; a loaded model must not hang on its file."""
    directory = rewritten()
    runner = _load(directory)
    before = runner.logits(check_inputs(32))
    weights = directory / "weights" / "0.safetensors"
    with weights.open("r+b") as stream:
        stream.seek(10_000)
        stream.write(bytes(weights.stat().st_size - 10_000))
    assert (runner.logits(check_inputs(32)) == before).all()


def test_wrong_pixels_are_refused(bundle_dir: Path) -> None:
    runner = _load(bundle_dir)
    floats: NDArray[Any] = check_inputs(32).astype(np.float32)
    for wrong in (check_inputs(33), check_inputs(32)[0], floats):
        with pytest.raises(InvalidInputError, match="32 × 32"):
            runner.logits(wrong)
    assert runner.logits(check_inputs(32)[:0]).shape == (0, 3)
    assert runner.logits(np.concatenate([check_inputs(32)] * 3)).shape == (96, 3)


def test_pixels_that_lie_oddly_in_memory_are_read_right(bundle_dir: Path) -> None:
    runner, mirrored = _load(bundle_dir), check_inputs(32)[:3, :, ::-1]
    assert (runner.logits(mirrored) == runner.logits(mirrored.copy())).all()


class _Wrong:
    """An executor whose answers are another network's."""

    name = "onnxruntime-fp32-cpu"

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones((len(pixels), 3), np.float32)


class _Failing(_Wrong):
    """One that fails when it runs, as its library likes."""

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise IndexError


def test_eager_torch_takes_the_place_of_an_executor_that_fails_when_it_runs(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    directory = Path(shutil.copytree(bundle_dir, tmp_path / "admitting"))
    admit(directory, alike(_Failing.name))
    monkeypatch.setitem(kinds.KINDS, _Failing.name, replace(kinds.KINDS[_Failing.name], make=lambda _: _Failing()))
    assert load(directory, torch.device("cpu"), Lock(), _Failing.name).executor == "torch-eager-fp32-cpu"
    assert [(each.levelname, vars(each)["cause"]) for each in caplog.records] == [("WARNING", "IndexError")]


@pytest.mark.parametrize("name", ["onnxruntime-fp32-cpu", "torch-graphs-fp32-cuda", "of another time"])
def test_eager_torch_takes_the_place_of_an_executor_that_fails(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    directory = Path(shutil.copytree(bundle_dir, tmp_path / "admitting"))
    admit(directory, alike(name.replace(" ", "-")))
    kind = kinds.KINDS["onnxruntime-fp32-cpu"]
    monkeypatch.setitem(kinds.KINDS, kind.name, replace(kind, make=lambda _: _Wrong()))
    runner = load(directory, torch.device("cpu"), Lock(), name)
    assert runner.executor == "torch-eager-fp32-cpu"
    assert runner.logits(check_inputs(32)).std() > 0


class _Renamed(Eager):
    """Eager torch on the CPU, by another name."""

    def __init__(self, source: Source, name: str) -> None:
        super().__init__(replace(source, device=torch.device("cpu")))
        self.name = name


@pytest.mark.parametrize(("device", "alone"), [("cuda", True), ("cpu", False)])
def test_nobody_computes_while_something_is_made_on_a_gpu(
    bundle_dir: Path, monkeypatch: pytest.MonkeyPatch, device: str, alone: bool
) -> None:
    """What is recorded there breaks off when another thread uses it. On a CPU requests go on meanwhile."""
    turn, held = Lock(), []

    def make(source: Source) -> Executor:
        held.append(turn.locked())
        return _Renamed(source, kind.name)

    kind = kinds.eager_on(device)
    monkeypatch.setitem(kinds.KINDS, kind.name, replace(kind, make=make))
    runner = load(bundle_dir, torch.device(device), turn)
    assert (runner.executor, held) == (kind.name, [alone])
    assert not turn.locked() and runner.logits(check_inputs(32), 0).shape == (32, 3)


def test_what_the_bundle_does_not_admit_is_not_used(bundle_dir: Path) -> None:
    runner = load(bundle_dir, torch.device("cpu"), Lock(), "torch-export-fp32-cpu")
    assert runner.executor == "torch-eager-fp32-cpu"


def test_the_executor_asked_for_is_used(bundle_dir: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(bundle_dir, tmp_path / "admitting"))
    admit(directory, alike("torch-export-fp32-cpu"))
    runner = load(directory, torch.device("cpu"), Lock(), "torch-export-fp32-cpu")
    assert runner.executor == "torch-export-fp32-cpu"
    expected = _arrays(bundle_dir, "check.safetensors")["logits"]
    np.testing.assert_allclose(runner.logits(check_inputs(32)), expected, atol=1e-3 * np.abs(expected).max())
    assert runner.memory_bytes > 4_000_000


def test_a_damaged_bundle_is_refused_whatever_runs_it(rewritten: Callable[..., Path]) -> None:
    with pytest.raises(CorruptError, match="does not answer"):
        load(
            rewritten(**{"fc.bias": np.full(3, np.nan, np.float32)}),
            torch.device("cpu"),
            Lock(),
            "torch-export-fp32-cpu",
        )
