"""What every executor is, and what it is made from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from aimic.nets.net import Net


class Executor(Protocol):
    """A bundle's networks, ready to run. Not thread-safe: the runner lets one caller in at a time."""

    name: str
    """Such as `openvino-fp32-cpu`; named in every answer."""

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits [n, classes] of uint8 RGB pixels [n, S, S, 3], in C order, n from 1 to images_at_once(S)."""


@dataclass(frozen=True)
class Source:
    """The networks of a bundle in evaluation mode, and the part of the machine that they get."""

    nets: tuple[Net, ...]
    device: torch.device
    threads: int

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return self.nets[0].preprocessing.image_size

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The networks as one graph from pixels to logits, for batches of any size."""
        from aimic.nets.executors.exporting import exported

        return exported(self)


def cached_together(image_size: int, at_224: int) -> int:
    """How many images of this size have as many pixels as `at_224` of 224 px: what goes from layer to layer fits the
    CPU's caches for so many.
    """
    return max(1, at_224 * 224**2 // image_size**2)
