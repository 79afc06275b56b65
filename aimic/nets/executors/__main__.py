"""`python -m aimic.nets.executors DIRECTORY --threads N --seconds S` measures a bundle and prints the choice as JSON.

A process of its own: what the candidates take of memory goes with it, and one that crashes takes nobody along.
"""

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

from aimic.errors import AimicError

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Measure the bundle named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True, help="after these, the process ends without an answer")
    parser.add_argument("--reduced", action="store_true", help="bfloat16 may be chosen too")
    wishes = parser.parse_args()
    _end_with_whoever_started_us()
    signal.alarm(wishes.seconds)
    os.nice(10)  # whoever is being served meanwhile goes first
    # As where it will serve: threads that wait must not spin. libgomp looks when torch is imported, below.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from aimic.nets.executors.choose import choose
    from aimic.nets.runner import best_device, use_threads

    use_threads(wishes.threads)
    try:
        choice = choose(wishes.directory, best_device(), reduced=wishes.reduced)
    except AimicError as error:
        raise SystemExit(error.message) from error
    sys.stdout.write(choice.model_dump_json() + "\n")


def _end_with_whoever_started_us() -> None:
    """However that one ends. Only Linux can; elsewhere the time that a measurement may take must do."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
