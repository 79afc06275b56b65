"""A training run on disk: safetensors and JSON, never a pickle; there as a whole or not at all.

What a resumed run needs to give the bits of an unbroken one, and where it is:

- the network and the optimiser: their tensors, and those of the best epoch's network;
- the scheduler: none is kept, since its rates are a function of the step's number (schedule.py);
- a gradient scaler: none is used, since bfloat16 has the range of float32 (machine.py);
- random states: none are kept, since every draw is a function of the job's seed, the epoch, the sample and the purpose
  (draws.py), and torch's own generator, which draws dropout masks, is seeded for each step (step.py);
- the sampler's position: `epoch` and `batch` of the journal, in an order that is such a draw;
- the epoch log: the journal's.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from aimic import faults
from aimic.domain.base import Value
from aimic.domain.job import EpochLog
from aimic.errors import CorruptError
from services.trainer.machine import Machine

MODEL, OPTIMIZER, BEST, JOURNAL = (
    "model.safetensors",
    "optimizer.safetensors",
    "best.safetensors",
    "journal.json",
)
Tensors = dict[str, torch.Tensor]


class Journal(Value):
    """Where a run stands. `epoch` and `batch` (both from 0) name the next batch to do."""

    format: int = 1
    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    """Of the epoch's batches so far, weighted by their images."""
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    """Spent in this epoch so far."""
    log: tuple[EpochLog, ...] = ()
    best_epoch: int | None = None
    """From 0."""
    best_score: float | None = None
    """Of the best epoch; lower is better."""
    machine: Machine
    resumed_elsewhere: bool = False
    """Whether any part ran on another processor, thread count or version of torch: then not the same bits."""


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors of any device and memory format."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> Tensors:
    """Read tensors; CorruptError when the file is damaged."""
    try:
        return dict(load_file(path))
    except Exception as error:
        raise CorruptError(f"The stored file {path.name} of an earlier task is damaged: {error}") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """The optimiser's state as tensors named `parameter.what`; rates come from the schedule, not from here."""
    flat: Tensors = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if value is not None:
                flat[f"{index}.{name}"] = torch.as_tensor(value)
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, flat: Tensors) -> None:
    """The inverse of `optimizer_tensors`, in the parameters' own memory format (it may decide last bits)."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        index, _, name = key.partition(".")
        like = parameters[int(index)]
        fits = value.shape == like.shape
        state.setdefault(int(index), {})[name] = torch.empty_like(like).copy_(value) if fits else value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def write(
    directory: Path, step: int, journal: Journal, model: Tensors, optimizer: Tensors, best: Tensors | None
) -> dict[str, Path]:
    """Write a checkpoint under `directory`; returns its files by object name."""
    whole = directory / f"step-{step}"
    partial = directory / f"step-{step}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_tensors(partial / MODEL, model)
    faults.point("child.checkpoint.writing")
    save_tensors(partial / OPTIMIZER, optimizer)
    if best is not None:
        save_tensors(partial / BEST, best)
    (partial / JOURNAL).write_text(journal.model_dump_json())
    shutil.rmtree(whole, ignore_errors=True)
    os.rename(partial, whole)  # noqa: PTH104 - the name of the system call that makes it atomic
    faults.point("child.checkpoint.written")
    return {path.name: path for path in sorted(whole.iterdir())}
