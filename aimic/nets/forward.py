"""Pixels to logits, the same for a bundle's check, for judging and for serving."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aimic.nets.net import Net
from aimic.nets.normalise import normalise

MICRO_BATCH = 32
"""Images at once, up to 320 px: enough to use the machine. Of larger images as many as have those pixels,
so that the memory needed stays the same (VGG-16: 0.9 GB)."""


def images_at_once(image_size: int) -> int:
    """How many images of this size go through a network together."""
    return max(1, min(MICRO_BATCH, MICRO_BATCH * 320**2 // image_size**2))


@torch.inference_mode()
def logits_of(
    nets: Sequence[Net], pixels: NDArray[np.uint8], device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Logits [n, classes] of uint8 RGB pixels [n, S, S, 3]; those of an ensemble's networks are averaged.

    The networks are in evaluation mode on `device`.
    """
    step = images_at_once(nets[0].preprocessing.image_size)
    with full_float32(device):
        parts = [
            _micro_batch(nets, torch.tensor(pixels[start : start + step]), device)
            for start in range(0, len(pixels), step)
        ]
    if not parts:
        return np.empty((0, nets[0].classes), dtype=np.float32)
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def _micro_batch(nets: Sequence[Net], pixels: Tensor, device: torch.device | str) -> Tensor:
    x = normalise(pixels.to(device), nets[0].preprocessing)
    total: Tensor = sum((net.module(x) for net in nets[1:]), nets[0].module(x))
    return (total / len(nets)).cpu()


@torch.inference_mode()
def features_of(net: Net, pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> NDArray[np.float32]:
    """What the head of `net` reads [n, d], of uint8 RGB pixels [n, S, S, 3] that go through it together.

    The network is in evaluation mode on `device`.
    """
    with full_float32(device):
        x = normalise(torch.tensor(pixels, device=device), net.preprocessing)
        return np.asarray(net.features(x).float().cpu().numpy(), dtype=np.float32)


@contextmanager
def full_float32(device: torch.device | str) -> Iterator[None]:
    """cuDNN rounds float32 convolutions to TF32's 10 bits by default: too coarse for an answer that is not to
    depend on its batch.
    """
    if torch.device(device).type != "cuda":
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
