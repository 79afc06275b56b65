"""OpenVINO on the CPU: layers fused, weights laid out for this CPU's vectors.

Importing it reports that to its maker, over the network and without being asked, as far as openvino_telemetry can be
imported. So that is made impossible before; OpenVINO then uses the stand-in that it has for who didn't install it.
"""

import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimic.errors import UnavailableError
from aimic.nets.executors.base import Source, cached_together
from aimic.nets.executors.exporting import quiet

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # Python's way to say: not to be had

import openvino  # noqa: E402
from openvino.frontend import FrontEndManager  # noqa: E402
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder  # noqa: E402

_AT_224 = 2
"""Images at once: 32 of MobileNet-v2 then take a fifth less time than all together, those of ResNet-50 as long."""
_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenVino:
    """One compiled network for batches of any size, `threads` threads wide."""

    def __init__(self, source: Source, precision: str = "fp32") -> None:
        self.name = f"openvino-{precision}-cpu"
        self._step = cached_together(source.image_size, _AT_224)
        # Without the hint OpenVINO takes bfloat16 by itself where the CPU is quick with it. Pinned threads would wait
        # for the very CPU that a neighbour keeps busy.
        self._compiled = _core().compile_model(
            _converted(source),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
                "EXECUTION_MODE_HINT": "ACCURACY" if precision == "fp32" else "PERFORMANCE",
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": "1",
                "INFERENCE_NUM_THREADS": source.threads,
                "ENABLE_CPU_PINNING": False,
            },
        )
        if self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string() != _PRECISIONS[precision]:
            # Else float32 would be judged under this name, and bfloat16 serve where the CPU has it.
            raise UnavailableError(f"This CPU doesn't compute in {precision}.")
        self._request = self._compiled.create_infer_request()

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Executor."""
        starts = range(0, len(pixels), self._step)
        return np.concatenate([self._run(pixels[start : start + self._step]) for start in starts])

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: Any = self._request.infer([pixels])
        return np.array(found[0], dtype=np.float32)


@cache
def _core() -> openvino.Core:
    """One for as long as the process lives.

    Its CPU plugin gives the thread that loads it a stack for signals, and unmaps that with the last core, on whatever
    thread; the next signal to the first thread would end the process without a word.
    """
    return openvino.Core()


def _converted(source: Source) -> openvino.Model:
    side = source.image_size
    with quiet():
        decoder = TorchFXPythonDecoder.from_exported_program(source.program)  # outlives what is read through it
        front = FrontEndManager().load_by_framework("pytorch")
        model = front.convert(front.load(decoder))
    model.reshape(openvino.PartialShape([-1, side, side, 3]))
    return model
