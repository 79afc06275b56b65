"""torch.export on the CPU: what follows a convolution folded into it, and no Python of the network's own."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx.experimental.optimization import fuse

from aimic.nets.executors.base import Source, cached_together
from aimic.nets.executors.exporting import Whole, exported, quiet

_AT_224 = 8
"""Images at once: 32 of MobileNet-v2 then take 0.2 s instead of 2 s."""


class Exported:
    """Batch normalisation is part of the convolution's weights: half of the passes over memory are saved.

    torch.compile would fuse more, but it needs a C++ compiler, which no pod has, and minutes for each network.
    """

    def __init__(self, source: Source) -> None:
        self.name = "torch-export-fp32-cpu"
        self._step = cached_together(source.image_size, _AT_224)
        whole = Whole(source)
        with quiet(), torch.no_grad():
            whole.networks = torch.nn.ModuleList(fuse(network) for network in whole.networks)
        self._module = exported(source, whole.to(memory_format=torch.channels_last)).module()

    @torch.inference_mode()
    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Executor."""
        starts = range(0, len(pixels), self._step)
        parts = [self._module(torch.tensor(pixels[start : start + self._step])) for start in starts]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)
