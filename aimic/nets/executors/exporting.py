"""A bundle's networks as one graph from pixels to logits: what the executors of other libraries are made from."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from aimic.nets.executors.base import Source

_MOST_IMAGES = 1024


class Whole(nn.Module):
    """From uint8 pixels [n, S, S, 3] to the ensemble's mean logits [n, classes]."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.networks = nn.ModuleList(net.module for net in source.nets)
        preprocessing = source.nets[0].preprocessing
        # Kept on the device: while a CUDA graph is recorded nothing may come over from the host.
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1))
        self.eval()

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised here too (as aimic/nets/normalise.py does), so that whoever compiles it can fold that in."""
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
        x = (planes / 255 - self.mean) / self.std
        logits = [network(x) for network in self.networks]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)


def exported(source: Source, whole: nn.Module | None = None) -> torch.export.ExportedProgram:
    """The graph of `whole`, by default of the source's networks as they are, for batches of any size."""
    sample = torch.zeros((2, source.image_size, source.image_size, 3), dtype=torch.uint8)
    images = {0: torch.export.Dim("images", min=1, max=_MOST_IMAGES)}
    with torch.no_grad(), quiet():
        return torch.export.export(whole or Whole(source), (sample,), dynamic_shapes=(images,))


@contextmanager
def quiet() -> Iterator[None]:
    """Converters warn of what they replace in other people's networks; whether they did it well is measured."""
    root = logging.getLogger()
    root.addFilter(_silent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(_silent)


def _silent(record: logging.LogRecord) -> bool:
    """Drops what is logged to the root itself, by nobody's name, below an error."""
    return record.name != "root" or record.levelno >= logging.ERROR
