"""A bundle in memory, proven to answer as it did when it was made."""

import logging
import time
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from aimic.errors import CorruptError, DeadlineError, InvalidInputError, UnavailableError
from aimic.nets.bundle import Bundle, inspect
from aimic.nets.executors.admission import admitted, compared
from aimic.nets.executors.base import Executor, Source
from aimic.nets.executors.kinds import KINDS, eager_on, make
from aimic.nets.forward import images_at_once
from aimic.nets.restoring import check_tensors, restored

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest difference of a check logit, relative to the largest of them. Another CPU or library rounds
differently by about 1e-5; another network, class order or preprocessing differs by far more."""
_SMALLEST = 1e-9
"""Added to it, absolute, for logits that are all zero. An untrained network's can be as small as 1e-4."""


class Runner:
    """One model, ready. Thread-safe: images of several callers take turns, at most 32 at a time."""

    def __init__(self, bundle: Bundle, executor: Executor, device: torch.device, turn: Lock, memory_bytes: int) -> None:
        self.hash = bundle.hash
        self.info = bundle.info
        self.device = device
        self.memory_bytes = memory_bytes
        """What the weights take of the device's memory, about."""
        self._executor = executor
        self._turn = turn

    @property
    def executor(self) -> str:
        """With what it runs, such as `torch-eager-fp32-cpu`."""
        return self._executor.name

    def logits(self, pixels: NDArray[np.uint8], timeout_s: float | None = None) -> NDArray[np.float32]:
        """Logits [n, classes] for uint8 RGB pixels [n, S, S, 3].

        InvalidInputError for another shape; DeadlineError when its turns didn't come within `timeout_s`.
        """
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        side = self.info.preprocessing.image_size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3):
            raise InvalidInputError(
                f"This model reads uint8 pixels of {side} × {side} × 3, not {pixels.dtype} {pixels.shape[1:]}."
            )
        pixels, step = np.ascontiguousarray(pixels), images_at_once(side)
        parts = []
        for start in range(0, len(pixels), step):
            if not self._turn.acquire(timeout=-1 if ends is None else max(0.0, ends - time.monotonic())):
                raise DeadlineError("Other images took all the time there was. Ask again, or with a later deadline.")
            try:
                parts.append(self._executor.run(pixels[start : start + step]))
            finally:
                self._turn.release()
        return np.concatenate(parts) if parts else np.empty((0, len(self.info.classes)), np.float32)


def best_device() -> torch.device:
    """The GPU, when torch finds one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def use_threads(threads: int) -> None:
    """How many threads a network is computed with, in this process: torch's, and those of executors made later."""
    torch.set_num_threads(threads)


def load(directory: Path, device: torch.device, turn: Lock, executor: str | None = None) -> Runner:
    """Verify a bundle directory, load it, compare its check logits and so warm it.

    `executor` names one of executors/kinds.py, by default eager torch, which also takes the place of one that the
    bundle's record doesn't admit, that can't be made or fails here, or doesn't answer as the bundle's check says.
    CorruptError when hash, classes, preprocessing or eager torch's check logits don't match.
    """
    bundle = inspect(directory)
    eager = eager_on(device.type).name
    if executor is not None and executor != eager:
        try:
            _may(bundle, executor)
            return _loaded(bundle, directory, device, turn, executor)
        except Exception as error:  # of any library, of any type, also while it runs
            # The bundle may be sound all the same; if it isn't, eager torch says so.
            cause = str(error)[:1000] or type(error).__name__
            logger.warning("executor not used", extra={"executor": executor, "cause": cause})
    return _loaded(bundle, directory, device, turn, eager)


def _may(bundle: Bundle, executor: str) -> None:
    """UnavailableError unless the bundle's record admits it; who knows no such executor says so later."""
    kind = KINDS.get(executor)
    if kind is not None and not admitted(executor, kind.precision, bundle.info):
        raise UnavailableError(
            "It was not seen to answer as eager torch does on out-of-fold images when this model was made."
        )


def _loaded(bundle: Bundle, directory: Path, device: torch.device, turn: Lock, name: str) -> Runner:
    nets = restored(directory, bundle.info)
    tensors = [tensor for net in nets for tensor in net.module.state_dict().values()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    # While a CUDA graph is recorded nothing else may use the GPU, and float32's precision is one switch for all. On a
    # CPU nothing is shared, so that requests needn't wait for a conversion.
    with turn if device.type == "cuda" else nullcontext():
        made = make(name, Source(nets, device, torch.get_num_threads()))
    runner = Runner(bundle, made, device, turn, size)
    _check(runner, directory)
    inputs, _ = check_tensors(directory)
    runner.logits(inputs[:1])
    return runner


def _check(runner: Runner, directory: Path) -> None:
    inputs, expected = check_tensors(directory)
    try:
        found = runner.logits(inputs)
    except InvalidInputError as error:
        raise CorruptError("The model's check pictures are not of its image size. It is not used.") from error
    if expected.shape != found.shape or len(found) == 0:
        raise CorruptError("The model's check logits are not of its classes. It is not used.")
    if KINDS[runner.executor].precision != "fp32":
        _check_reduced(runner, expected, found)
        return
    difference = float(np.abs(found - expected).max())
    allowed = TOLERANCE * float(np.abs(expected).max()) + _SMALLEST
    if not difference <= allowed:
        raise CorruptError(
            f"The model does not answer as it did when it was made (difference {difference:.2g}, allowed "
            f"{allowed:.2g}), so it is not used. The machine or its libraries may be at fault: run aimic doctor.",
            difference=difference,
        )


def _check_reduced(runner: Runner, expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    judged = compared(runner.executor, KINDS[runner.executor].precision, runner.info, expected, found)
    if not judged.admitted:
        raise CorruptError(f"In reduced precision the model answers otherwise, so that is not used. {judged.reason}")
