"""`python -m aimic.nets.executors.judging DIRECTORY PIXELS --threads N --executors A,B` compares with eager torch.

DIRECTORY holds a bundle, PIXELS is a .npy file of uint8 [n, S, S, 3], A and B name executors. On standard output comes
a line of JSON for each step (`Word`). A process of its own: a library that crashes or takes much memory takes nobody
along. It ends with its standard input, and so with whoever started it.
"""

import argparse
import gc
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aimic.domain.base import Value
from aimic.domain.executor import Judgement
from aimic.errors import AimicError
from aimic.nets.bundle import BundleInfo, verify
from aimic.nets.executors.admission import judgement
from aimic.nets.executors.base import Source
from aimic.nets.executors.kinds import KINDS, Kind, candidates, eager_on, make
from aimic.nets.forward import images_at_once
from aimic.nets.restoring import restored

REFERENCE = eager_on("cpu").name
"""What the others are compared with, wherever that runs."""


class Word(Value):
    """Where the work is; with the last of an executor, how it answered or why it could not."""

    executor: str
    done: int = 0
    """Images."""
    images: int = 0
    judgement: Judgement | None = None
    largest_difference: float = 0.0
    """Of a probability."""
    cause: str = ""
    """Why it could not be tried, in words."""


def present() -> tuple[str, ...]:
    """Names of all executors that this machine can run, in the order of KINDS, bfloat16 included."""
    cuda = candidates("cuda", reduced=True) if torch.cuda.is_available() else ()
    return tuple(kind.name for kind in (*candidates("cpu", reduced=True), *cuda) if kind.name != REFERENCE)


def judge(directory: Path, pixels: NDArray[np.uint8], names: Sequence[str]) -> Iterator[Word]:
    """Run the bundle's networks with eager torch on the CPU, then with each of `names`, on the same pixels.

    One at a time: several copies of a network's weights may not fit this machine's memory. AimicError when not even
    eager torch can run it, or the bundle is damaged.
    """
    info = verify(directory)
    source: Source | None = None
    reference = yield from _logits(KINDS[REFERENCE], _source(directory, info, "cpu"), pixels)
    for name in names:
        kind = KINDS[name]
        yield Word(executor=name, images=len(pixels))
        try:
            if source is None or source.device.type != kind.device:
                source = _source(directory, info, kind.device)
            found = yield from _logits(kind, source, pixels)
        except Exception as error:  # of any library, of any type: eager torch does without it
            yield Word(executor=name, cause=str(error)[:1000] or type(error).__name__)
            continue
        kept, largest = judgement(name, kind.precision, info, reference, found)
        yield Word(executor=name, judgement=kept, largest_difference=largest)


def _source(directory: Path, info: BundleInfo, device: str) -> Source:
    """Networks of their own for each device: to make an executor moves them there."""
    return Source(restored(directory, info), torch.device(device), torch.get_num_threads())


def _logits(kind: Kind, source: Source, pixels: NDArray[np.uint8]) -> Generator[Word, None, NDArray[np.float32]]:
    executor = make(kind.name, source)
    parts: list[NDArray[np.float32]] = []
    step = images_at_once(pixels.shape[1])
    for start in range(0, len(pixels), step):
        parts.append(executor.run(np.ascontiguousarray(pixels[start : start + step])))
        yield Word(executor=kind.name, done=min(start + step, len(pixels)), images=len(pixels))
    del executor
    gc.collect()
    return np.concatenate(parts)


def main() -> None:
    """Judge what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("pixels", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--executors", required=True, help="names, with commas between them")
    wishes = parser.parse_args()
    say = _own_stdout()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    torch.set_num_threads(wishes.threads)
    try:
        for word in judge(wishes.directory, np.load(wishes.pixels, mmap_mode="r"), wishes.executors.split(",")):
            say(word.model_dump_json() + "\n")
    except AimicError as error:
        raise SystemExit(error.message) from error
    os._exit(0)  # all is said: how libraries end is not to be judged


def _own_stdout() -> Callable[[str], None]:
    """Standard output for our words alone: whatever libraries print goes to standard error."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(line: str) -> None:
        own.write(line)
        own.flush()

    return say


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(3)


if __name__ == "__main__":
    main()
