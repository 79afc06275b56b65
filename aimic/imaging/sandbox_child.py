"""The process that touches files from outside. It may die; `aimic.imaging.sandbox` starts another.

Started as `python -m aimic.imaging.sandbox_child BYTES PIXELS SIDE MEMORY SECONDS`; frames come on standard
input and answers go to standard output.
"""

import gc
import os
import resource
import signal
import sys
from importlib import import_module
from pathlib import Path

from aimic.errors import UnreadableImageError
from aimic.imaging.examine import Examined, examine
from aimic.imaging.frames import READY, packed, read_frame, write_frame
from aimic.imaging.limits import Limits, seconds_allowed

_NO_MEMORY = "The picture needs more memory than one image may use."


def main(arguments: list[str]) -> None:
    """Answer frames until the parent closes the pipe."""
    max_bytes, max_pixels, max_side, memory, seconds = map(int, arguments)
    limits = Limits(max_bytes, max_pixels, max_side)
    # Ctrl-C at the terminal reaches the whole group; when to end is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries that print must not spoil the frames.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _warm_up()
    _bound_memory(memory)
    write_frame(answers, READY)
    while (data := read_frame(sys.stdin.buffer)) is not None:
        _bound_time(seconds_allowed(seconds, len(data)))
        write_frame(answers, *packed(_answer(data, limits), data))


def _warm_up() -> None:
    """Load the codecs before memory is bounded and the clock runs."""
    for name in ("imagecodecs._png", "aimic.imaging.tiff"):
        import_module(name)


def _bound_memory(allowance: int) -> None:
    """Allow `allowance` bytes of address space beyond what the loaded libraries take already; no files, no cores."""
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        # Without /proc (macOS) address space can't be bounded sensibly; size limits and time still hold.
        return
    top = pages * resource.getpagesize() + allowance
    resource.setrlimit(resource.RLIMIT_AS, (top, top))


def _bound_time(seconds: float) -> None:
    """The kernel ends this process when one image takes more processor time, even if the parent is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 1, hard))


def _answer(data: bytes, limits: Limits) -> Examined | UnreadableImageError:
    try:
        return examine(data, limits)
    except UnreadableImageError as error:
        return error
    except MemoryError:
        gc.collect()
        return UnreadableImageError(_NO_MEMORY)


if __name__ == "__main__":
    main(sys.argv[1:])
