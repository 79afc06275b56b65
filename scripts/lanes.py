"""Run targets side by side, a lane each, without mixing what they say.

python scripts/lanes.py "make …" TARGET…

What a lane says is shown whole when it is over. Meanwhile a line every EVERY_S tells how far each is.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from typing import BinaryIO

EVERY_S = 60.0
_LOOK_S = 0.2
_TAIL = 4096


class Lane:
    """One target, and the file that takes what it says."""

    def __init__(self, make: str, target: str) -> None:
        self.target = target
        self.output: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the lane
        self.process = subprocess.Popen((*shlex.split(make), target), stdout=self.output, stderr=subprocess.STDOUT)
        self._began = time.monotonic()

    def how_far(self) -> str:
        """The line it is at."""
        lines = self._said(_TAIL).decode(errors="replace").strip().splitlines()
        return f"{self._at()}: {lines[-1][:150] if lines else 'begins'}"

    def show(self) -> None:
        """All that it said, and how it ended."""
        sys.stdout.buffer.write(self._said())
        self.output.close()
        ending = "is done" if self.process.returncode == 0 else f"failed with {self.process.returncode}"
        say(f"{self._at()}: {ending}")

    def _said(self, last: int | None = None) -> bytes:
        # By pread: the lane writes at the position of the same open file, which a seek would move.
        size = os.fstat(self.output.fileno()).st_size
        length = size if last is None else min(size, last)
        return os.pread(self.output.fileno(), length, size - length)

    def _at(self) -> str:
        return f"lane {self.target} after {(time.monotonic() - self._began) / 60:.1f} minutes"


def say(words: str) -> None:
    """One line, now."""
    print(words, flush=True)


def run(make: str, targets: list[str]) -> int:
    """0 when all lanes ended with 0; those beside one that fails go on to their end."""
    lanes = [Lane(make, target) for target in targets]
    going, next_line = list(lanes), time.monotonic() + EVERY_S
    try:
        while going:
            for lane in [each for each in going if each.process.poll() is not None]:
                going.remove(lane)
                lane.show()
            if time.monotonic() >= next_line:
                next_line += EVERY_S
                for lane in going:
                    say(lane.how_far())
            time.sleep(_LOOK_S)
    finally:
        for lane in going:  # we are told to end
            lane.process.terminate()
            lane.process.wait()
            lane.show()
    return int(any(lane.process.returncode for lane in lanes))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(run(sys.argv[1], sys.argv[2:]))
