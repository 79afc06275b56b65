"""ONNX Runtime on the CPU."""

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from aimic.nets.executors.base import Source
from aimic.nets.executors.exporting import quiet

_QUIET = 3
"""Errors only: it warns of every constant that it folds."""


class OnnxRuntime:
    """One session for batches of any size, `threads` threads wide; idle threads sleep."""

    def __init__(self, source: Source) -> None:
        self.name = "onnxruntime-fp32-cpu"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = source.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        # A spinning thread takes the CPU from the one it waits for, when a neighbour has the other CPU.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            _exported(source), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Executor."""
        (found,) = self._session.run(None, {"pixels": pixels})
        return np.asarray(found, dtype=np.float32)


def _exported(source: Source) -> bytes:
    with quiet():
        converted = torch.onnx.export(
            source.program, input_names=["pixels"], output_names=["logits"], dynamo=True, verbose=False
        )
    assert converted is not None
    return bytes(converted.model_proto.SerializeToString())
