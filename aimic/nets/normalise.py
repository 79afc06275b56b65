"""Pixels to network input, on tensors."""

import torch
from torch import Tensor

from aimic.nets.preprocessing import Preprocessing


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """uint8 RGB [n, S, S, 3] → float32 [n, 3, S, S] in channels_last layout, on the same device.

    The order of operations is torchvision's (ToTensor, then Normalize), so that the bits are the same too.
    """
    mean = torch.tensor(preprocessing.mean, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=pixels.device).view(1, 3, 1, 1)
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
    return planes.div_(255).sub_(mean).div_(std)
