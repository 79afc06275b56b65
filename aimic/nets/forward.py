"""Pixels to logits, the same for a bundle's check and for serving."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aimic.nets.net import Net
from aimic.nets.normalise import normalise

MICRO_BATCH = 32
"""Images at once: enough to use the machine, few enough for its memory at 1024 px."""


@torch.inference_mode()
def logits_of(
    nets: Sequence[Net], pixels: NDArray[np.uint8], device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Logits [n, classes] of uint8 RGB pixels [n, S, S, 3]; those of an ensemble's networks are averaged.

    The networks are in evaluation mode on `device`.
    """
    parts = [
        _micro_batch(nets, torch.tensor(pixels[start : start + MICRO_BATCH]), device)
        for start in range(0, len(pixels), MICRO_BATCH)
    ]
    if not parts:
        return np.empty((0, nets[0].classes), dtype=np.float32)
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def _micro_batch(nets: Sequence[Net], pixels: Tensor, device: torch.device | str) -> Tensor:
    x = normalise(pixels.to(device), nets[0].preprocessing)
    total: Tensor = sum((net.module(x) for net in nets[1:]), nets[0].module(x))
    return (total / len(nets)).cpu()
