"""A bundle in memory, proven to answer as it did when it was made."""

import time
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from aimic.errors import CorruptError, DeadlineError, InvalidInputError
from aimic.nets.bundle import Bundle, inspect
from aimic.nets.forward import MICRO_BATCH, logits_of
from aimic.nets.net import Net
from aimic.nets.statefile import load_safetensors, read_bundle_states
from aimic.nets.zoo import restore

TOLERANCE = 1e-3
"""Largest difference of a check logit, relative to the largest of them. Another CPU or library rounds
differently by about 1e-5; another network, class order or preprocessing differs by far more."""
_SMALLEST = 1e-9
"""Added to it, absolute, for logits that are all zero. An untrained network's can be as small as 1e-4."""


class Runner:
    """One model, ready. Thread-safe: images of several callers take turns, 32 at a time."""

    def __init__(self, bundle: Bundle, nets: tuple[Net, ...], device: torch.device, turn: Lock) -> None:
        self.hash = bundle.hash
        self.info = bundle.info
        self.device = device
        self._nets = nets
        self._turn = turn

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
        parts = []
        for start in range(0, len(pixels), MICRO_BATCH):
            if not self._turn.acquire(timeout=-1 if ends is None else max(0.0, ends - time.monotonic())):
                raise DeadlineError("Other images took all the time there was. Ask again, or with a later deadline.")
            try:
                parts.append(logits_of(self._nets, pixels[start : start + MICRO_BATCH], self.device))
            finally:
                self._turn.release()
        return np.concatenate(parts) if parts else np.empty((0, len(self.info.classes)), np.float32)

    @property
    def memory_bytes(self) -> int:
        """What the weights take of the device's memory."""
        tensors = [tensor for net in self._nets for tensor in net.module.state_dict().values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def best_device() -> torch.device:
    """The GPU, when torch finds one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def use_threads(threads: int) -> None:
    """How many threads torch computes with, in this process."""
    torch.set_num_threads(threads)


def load(directory: Path, device: torch.device, turn: Lock) -> Runner:
    """Verify a bundle directory, load it, compare its check logits and so warm it.

    CorruptError when hash, classes, preprocessing or check logits don't match.
    """
    bundle = inspect(directory)
    try:
        nets = tuple(restore(bundle.info, state) for state in read_bundle_states(directory, bundle.info))
    except InvalidInputError as error:
        raise CorruptError(f"The model's weights don't fit what it says of itself: {error.message}") from error
    for net in nets:
        net.module.to(device)
    runner = Runner(bundle, nets, device, turn)
    _check(runner, directory)
    runner.logits(_check_tensors(directory)[0][:1])
    return runner


def _check(runner: Runner, directory: Path) -> None:
    inputs, expected = _check_tensors(directory)
    try:
        found = runner.logits(inputs)
    except InvalidInputError as error:
        raise CorruptError("The model's check pictures are not of its image size. It is not used.") from error
    if expected.shape != found.shape or len(found) == 0:
        raise CorruptError("The model's check logits are not of its classes. It is not used.")
    difference = float(np.abs(found - expected).max())
    allowed = TOLERANCE * float(np.abs(expected).max()) + _SMALLEST
    if not difference <= allowed:
        raise CorruptError(
            f"The model does not answer as it did when it was made (difference {difference:.2g}, allowed "
            f"{allowed:.2g}), so it is not used. The machine or its libraries may be at fault: run aimic doctor.",
            difference=difference,
        )


def _check_tensors(directory: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    tensors = load_safetensors(directory / "check.safetensors")
    if set(tensors) != {"inputs", "logits"}:
        raise CorruptError("The model's check is not as we write it. It is not used.")
    return tensors["inputs"].numpy(), tensors["logits"].numpy()
