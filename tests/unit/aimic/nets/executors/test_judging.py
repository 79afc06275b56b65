"""What packaging finds of each executor, in this process and in one of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from aimic.errors import CorruptError
from aimic.nets.bundle import bundle_hash, export, unpack, verify
from aimic.nets.executors.base import Executor, Source
from aimic.nets.executors.eager import Eager
from aimic.nets.executors.judging import REFERENCE, judge, present
from aimic.nets.executors.kinds import KINDS, Kind
from aimic.nets.package import admit, check_inputs
from tests.judged import alike

IMAGES = 40


class Changed:
    """Eager torch, with something done to its answers."""

    def __init__(self, source: Source, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self.name = "changed"
        self._eager = Eager(source)
        self._change = change

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._change(self._eager.run(pixels))


def _fails(_: NDArray[np.float32]) -> NDArray[np.float32]:
    raise RuntimeError("no such instruction")


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.concatenate([check_inputs(32), check_inputs(32)[: IMAGES - 32, ::-1]])


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def add(name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]], precision: str = "fp32") -> None:
        def make(source: Source) -> Executor:
            return Changed(source, change)

        monkeypatch.setitem(KINDS, name, Kind(name, "cpu", "bf16" if precision == "bf16" else "fp32", make))

    return add


def test_each_is_judged_on_every_image_and_a_failure_is_told(
    bundle_dir: Path, pixels: NDArray[np.uint8], play: Callable[..., None]
) -> None:
    play("same", lambda logits: logits)
    play("fails", _fails)
    play("wrong", lambda logits: logits[:, ::-1])
    names = ["same", "fails", "wrong", "torch-export-fp32-cpu"]
    words = list(judge(bundle_dir, pixels, names))
    found = {word.executor: word for word in words if word.judgement or word.cause}
    assert list(found) == names
    assert found["fails"].judgement is None and found["fails"].cause == "no such instruction"
    same, wrong, exported = (found[name].judgement for name in ("same", "wrong", "torch-export-fp32-cpu"))
    assert same and wrong and exported
    assert (same.images, same.admits, found["same"].largest_difference) == (IMAGES, True, 0.0)
    assert not wrong.admits and wrong.labels_changed > 0
    assert exported.admits and exported.images == IMAGES and found["torch-export-fp32-cpu"].largest_difference > 0
    assert [word.done for word in words if word.executor == REFERENCE] == [32, IMAGES]


def test_a_damaged_bundle_is_not_judged(bundle_dir: Path, tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    copy = Path(shutil.copytree(bundle_dir, tmp_path / "copy"))
    (copy / "model_card.md").write_bytes(b"x")
    with pytest.raises(CorruptError):
        list(judge(copy, pixels, ["torch-export-fp32-cpu"]))


def test_all_that_a_machine_has_is_tried_but_what_they_are_compared_with() -> None:
    names = present()
    assert REFERENCE not in names
    assert {"torch-export-fp32-cpu", "onnxruntime-fp32-cpu", "openvino-fp32-cpu", "openvino-bf16-cpu"} <= set(names)


def test_the_record_is_part_of_the_bundle_and_its_hash(bundle_dir: Path, tmp_path: Path) -> None:
    first, second = (Path(shutil.copytree(bundle_dir, tmp_path / name)) for name in ("first", "second"))
    digest = admit(first, alike("openvino-fp32-cpu"))
    assert digest == bundle_hash(first) == admit(second, alike("openvino-fp32-cpu")) != bundle_hash(bundle_dir)
    info = verify(first, digest)
    assert {"onnxruntime", "openvino", "torch"} <= set(info.libraries)
    kept = info.judgement("openvino-fp32-cpu")
    assert kept is not None and kept.admits and kept.images == 9
    assert "openvino-fp32-cpu: seen on 9 out-of-fold images" in (first / "model_card.md").read_text()
    export(first, tmp_path / "file")
    assert unpack(tmp_path / "file", tmp_path / "unpacked", digest).executors == info.executors
    changed = json.loads((first / "bundle.json").read_bytes())
    changed["executors"][0]["labels_changed"] = 1
    (first / "bundle.json").write_text(json.dumps(changed))
    with pytest.raises(CorruptError):
        verify(first)
    assert admit(second, []) != digest


def test_its_process_says_a_line_for_each_step_and_ends_with_its_standard_input(
    bundle_dir: Path, tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    np.save(tmp_path / "pixels.npy", pixels)
    command = [sys.executable, "-m", "aimic.nets.executors.judging", str(bundle_dir), str(tmp_path / "pixels.npy")]
    wishes = ["--threads", "1", "--executors", "torch-export-fp32-cpu"]
    with subprocess.Popen([*command, *wishes], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        said = [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 0
    assert said[-1]["judgement"]["executor"] == "torch-export-fp32-cpu"
    os.mkfifo(tmp_path / "never")  # nobody writes into it: to open it waits for ever
    command[-1] = str(tmp_path / "never")
    with subprocess.Popen([*command, *wishes], stdin=subprocess.DEVNULL) as process:
        assert process.wait(250) == 3
