"""torch as it is: what every other executor is compared with, and what serves when nothing else may."""

import numpy as np
from numpy.typing import NDArray

from aimic.nets.executors.base import Source
from aimic.nets.forward import logits_of


class Eager:
    """Layer after layer, float32, channels_last."""

    def __init__(self, source: Source) -> None:
        self.name = f"torch-eager-fp32-{source.device.type}"
        self._source = source
        for net in source.nets:
            net.module.to(source.device)

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Executor."""
        return logits_of(self._source.nets, pixels, self._source.device)
