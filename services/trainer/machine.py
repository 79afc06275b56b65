"""The device and the precision of a run."""

from pathlib import Path
from typing import Literal

import torch

from aimic.domain.base import Value
from aimic.domain.job import TrainSettings
from aimic.errors import InvalidInputError

Precision = Literal["float32", "bfloat16"]

_BF16_FROM_SIDE = 112
"""On a CPU, converting costs more than it saves on small images: images per CPU second of MobileNet-v2 in float32
and bfloat16 were 205 and 111 at 64 px, 9.3 and 15.2 at 224 px (Zen 4)."""


class Machine(Value):
    """What decides the last bits of a run besides its settings; written into each checkpoint and result."""

    device: str
    processor: str
    precision: Precision
    """Of the forward and backward pass in training; weights, judging and serving are float32."""
    threads: int
    torch: str

    def __str__(self) -> str:
        """In words."""
        return f"{self.processor} ({self.device}, {self.precision}, {self.threads} threads, PyTorch {self.torch})"


def _cpu_facts() -> tuple[str, frozenset[str]]:
    """Model name and flags of the first CPU; empty where the kernel doesn't say."""
    facts: dict[str, str] = {}
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    return facts.get("model name", "unknown"), frozenset(facts.get("flags", "").split())


def prepare(settings: TrainSettings) -> Machine:
    """Set threads and determinism for this process, find the device, choose the precision."""
    threads = settings.threads or 1
    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not cuda:
        raise InvalidInputError(
            "This job asks for a GPU, but the trainer's machine has none that PyTorch can use. "
            "Nothing is lost: start the job with device auto, or start a trainer on a machine with a GPU."
        )
    device = "cpu" if settings.device == "cpu" or not cuda else "cuda"
    # On a GPU some layers (VGG's pooling) have no deterministic form; there it is a wish, here a promise.
    torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
    name, flags = _cpu_facts()
    if device == "cuda":
        name = torch.cuda.get_device_name()
    fast = torch.cuda.is_bf16_supported() if device == "cuda" else bool(flags & {"avx512_bf16", "amx_bf16"})
    if device == "cpu" and settings.image_size is not None:
        fast = fast and settings.image_size >= _BF16_FROM_SIDE
    precision: Precision = "bfloat16" if fast else "float32"
    return Machine(device=device, processor=name, precision=precision, threads=threads, torch=torch.__version__)
