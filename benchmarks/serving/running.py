"""One run: what was wished for, what it is made of, and how far it is."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.serving.abba import Measured, interleave
from benchmarks.serving.load import Outcome, Plan, measure
from benchmarks.serving.material import Material, Size


class LostRequestsError(Exception):
    """Requests failed under a load that the server should bear: such a figure is none."""


@dataclass
class Progress:
    """Tells each measurement, and how long the rest of the part takes."""

    part: str
    steps: int
    """Measurements of the part."""
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def told(self, name: str, value: float) -> None:
        """One more is done."""
        self.done += 1
        passed = time.monotonic() - self.began
        left = passed / self.done * max(0, self.steps - self.done)
        print(
            f"[{time.strftime('%H:%M:%S')}] {self.part} {self.done}/{self.steps}: {name} {value:.4g}; "
            f"about {left / 60:.1f} min left of this part",
            file=sys.stderr, flush=True,
        )  # fmt: skip


@dataclass
class Run:
    """What the parts share."""

    material: Material
    progress: Progress = field(default_factory=lambda: Progress("", 0))

    @property
    def size(self) -> Size:
        """How much is measured."""
        return self.material.size

    def begin(self, part: str, steps: int) -> None:
        """A part of so many measurements."""
        self.progress = Progress(part, steps)

    def interleave(self, sides: Mapping[str, Callable[[], float]], rounds: int | None = None) -> Measured:
        """See abba.interleave; progress is told. As many rounds as the size says unless others are asked for."""
        return interleave(sides, rounds or self.size.rounds, self.progress.told)


def sound(plan: Plan) -> Outcome:
    """Carry out a plan that every request of must be answered. LostRequestsError otherwise."""
    return _judged(plan, measure(plan), refusing=False)


def borne(plan: Plan) -> Outcome:
    """Carry out a plan of which requests may be refused but not lost. LostRequestsError too when none is answered."""
    return _judged(plan, measure(plan), refusing=True)


def _judged(plan: Plan, outcome: Outcome, *, refusing: bool) -> Outcome:
    if outcome.failed or (outcome.refused and not refusing) or not outcome.milliseconds:
        raise LostRequestsError(
            f"{plan.target}: {outcome.failed} requests failed and {outcome.refused} were refused, "
            f"{len(outcome.milliseconds)} were answered"
        )
    return outcome
