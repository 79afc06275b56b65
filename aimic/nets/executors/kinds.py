"""The executors that there are, by name. Each is imported only when it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from aimic.errors import InvalidInputError, UnavailableError
from aimic.nets.executors.base import Executor, Source


@dataclass(frozen=True)
class Kind:
    """One way to run a network."""

    name: str
    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    make: Callable[[Source], Executor]
    needs: tuple[str, ...] = ()
    """Packages without which it can't be made."""

    @property
    def available(self) -> bool:
        """Whether its packages are installed."""
        return all(find_spec(package) is not None for package in self.needs)


def _eager(source: Source) -> Executor:
    from aimic.nets.executors.eager import Eager

    return Eager(source)


def _exported(source: Source) -> Executor:
    from aimic.nets.executors.exported import Exported

    return Exported(source)


def _onnx(source: Source) -> Executor:
    from aimic.nets.executors.onnx import OnnxRuntime

    return OnnxRuntime(source)


def _openvino(source: Source) -> Executor:
    from aimic.nets.executors.openvino import OpenVino

    return OpenVino(source)


def _openvino_bf16(source: Source) -> Executor:
    from aimic.nets.executors.openvino import OpenVino

    return OpenVino(source, "bf16")


def _graphs(source: Source) -> Executor:
    from aimic.nets.executors.graphs import Graphs

    return Graphs(source)


def _graphs_bf16(source: Source) -> Executor:
    from aimic.nets.executors.graphs import Graphs

    return Graphs(source, "bf16")


_ONNX = ("onnx", "onnxruntime", "onnxscript")
KINDS = {
    kind.name: kind
    for kind in (
        Kind("torch-eager-fp32-cpu", "cpu", "fp32", _eager),
        Kind("torch-export-fp32-cpu", "cpu", "fp32", _exported),
        Kind("onnxruntime-fp32-cpu", "cpu", "fp32", _onnx, _ONNX),
        Kind("openvino-fp32-cpu", "cpu", "fp32", _openvino, ("openvino",)),
        Kind("openvino-bf16-cpu", "cpu", "bf16", _openvino_bf16, ("openvino",)),
        Kind("torch-eager-fp32-cuda", "cuda", "fp32", _eager),
        Kind("torch-graphs-fp32-cuda", "cuda", "fp32", _graphs),
        Kind("torch-graphs-bf16-cuda", "cuda", "bf16", _graphs_bf16),
    )
}
"""In the order in which they are tried; of each device the eager one first."""


def eager_on(device: str) -> Kind:
    """The executor that is always there."""
    return KINDS[f"torch-eager-fp32-{device}"]


def candidates(device: str, *, reduced: bool = False) -> tuple[Kind, ...]:
    """What can be chosen from on this device with what is installed; bfloat16 only when `reduced` is asked for."""
    return tuple(
        kind
        for kind in KINDS.values()
        if kind.device == device and kind.available and (reduced or kind.precision == "fp32")
    )


def make(name: str, source: Source) -> Executor:
    """The executor of this name for these networks.

    InvalidInputError for a name that there isn't, UnavailableError when it can't be made on this machine.
    """
    kind = KINDS.get(name)
    if kind is None or kind.device != source.device.type:
        here = ", ".join(each.name for each in KINDS.values() if each.device == source.device.type)
        raise InvalidInputError(f"There is no executor {name!r} here. Choose one of {here}.")
    if not kind.available:
        raise UnavailableError(f"{name} needs {' and '.join(kind.needs)}, which this machine doesn't have.")
    try:
        return kind.make(source)
    except Exception as error:  # another library's, of any type: whatever it is, eager torch does without it
        raise UnavailableError(f"{name} can't run this network here: {error}") from error
