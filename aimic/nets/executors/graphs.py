"""CUDA graphs: one launch for all layers of a network, so that one image doesn't wait for Python."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aimic.nets.executors.base import Source
from aimic.nets.executors.exporting import Whole
from aimic.nets.forward import full_float32, images_at_once

_SIZES = (1, 2, 4, 8, 16, 32)
"""Batches are filled up to the next of these: a graph is of one size."""
_WARM_UPS = 3


class Graphs:
    """A captured graph per batch size, made when first needed and kept; float32 or bfloat16, channels_last."""

    def __init__(self, source: Source, precision: str = "fp32") -> None:
        self.name = f"torch-graphs-{precision}-cuda"
        self._device = source.device
        self._type = torch.bfloat16 if precision == "bf16" else torch.float32
        self._whole = Whole(source).to(source.device)
        self._side = source.image_size
        self._captured: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        for size in _sizes(source.image_size):
            self._captured[size] = self._capture(size)

    @torch.inference_mode()
    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Executor."""
        images = len(pixels)
        graph, given, found = self._captured[next(size for size in self._captured if size >= images)]
        given[:images].copy_(torch.tensor(pixels))
        graph.replay()
        return np.asarray(found[:images].float().cpu().numpy(), dtype=np.float32)

    @torch.inference_mode()
    def _capture(self, size: int) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        given = torch.zeros((size, self._side, self._side, 3), dtype=torch.uint8, device=self._device)
        graph = torch.cuda.CUDAGraph()
        reduced = self._type is torch.bfloat16
        # Never with autocast's cache: it gives its converted weights back when it ends, and a graph that was recorded
        # with them would go on reading memory that is others' by then.
        with full_float32(self._device), torch.autocast("cuda", self._type, enabled=reduced, cache_enabled=False):
            stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call] # torch's own
            stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(stream):  # libraries choose their algorithms before anything is recorded
                for _ in range(_WARM_UPS):
                    self._whole(given)
            torch.cuda.current_stream(self._device).wait_stream(stream)
            with torch.cuda.graph(graph):
                found = self._whole(given)
        return graph, given, found


def _sizes(image_size: int) -> Sequence[int]:
    most = images_at_once(image_size)
    return sorted({size for size in _SIZES if size < most} | {most})
