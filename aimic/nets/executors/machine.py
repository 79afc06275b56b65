"""What kind of machine this is, so far as it decides which executor is the quickest."""

import platform
import re
from pathlib import Path

from aimic.settings import available_cpus

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16", "sve", "i8mm")
_DRIVER = Path("/dev/nvidiactl")
"""There wherever a process may use an NVIDIA GPU."""


def machine_class(threads: int | None = None, *, reduced: bool = False) -> str:
    """Letters, digits, dots and dashes: the CPU's model, its vector units and `threads`; or the name of the GPU.

    Two machines of one class take about the same time for the same work, so that what one measured holds for both.
    `threads` are those that networks are computed with, by default as many as this process has CPUs. Where bfloat16 may
    be chosen (`reduced`) is a class of its own: what it chose isn't for who didn't ask for that.
    """
    gpu = _gpu()
    if gpu is not None:
        words = ["gpu", gpu]
    else:
        model, flags = _cpu()
        words = [model, *(flag for flag in _FLAGS if flag in flags), f"{threads or available_cpus()}t"]
    return _plain("-".join([*words, "reduced"] if reduced else words))


def _gpu() -> str | None:
    if not _DRIVER.exists():
        return None
    import torch  # slow to import, and not needed where there is no GPU

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _cpu(file: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    found: dict[str, str] = {}
    try:
        for line in file.read_text().splitlines():
            name, _, value = line.partition(":")
            found.setdefault(name.strip().lower(), value.strip())
    except OSError:
        pass  # not Linux: the architecture must do
    model = found.get("model name") or found.get("cpu part") or platform.machine()
    return model, set((found.get("flags") or found.get("features") or "").split())


def _plain(words: str) -> str:
    kept = re.sub(r"\((r|tm)\)|\bcpu\b|\bprocessor\b|@.*?ghz", " ", words.lower())
    return re.sub(r"[^a-z0-9._]+", "-", kept).strip("-._")[:120]
