"""The words of the tables: what was measured, against what, whether the goal is met, and on which machine."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import PIL
import torch
import torchvision

from aimic.settings import available_cpus
from benchmarks.serving.abba import Spread
from benchmarks.serving.load import ROOT
from benchmarks.tables import processor


class Goal(NamedTuple):
    """What the ratio should be."""

    bound: float
    least: bool = True
    """At least the bound; else at most."""

    @property
    def words(self) -> str:
        """For the table."""
        return f"{'≥' if self.least else '≤'} {self.bound:g}×"

    def judged(self, ratio: Spread) -> str:
        """Whether the median meets it, else by how much it doesn't."""
        if (ratio.median >= self.bound) if self.least else (ratio.median <= self.bound):
            return "met"
        return f"missed: {ratio.median / self.bound:.2f} of it"


class Line(NamedTuple):
    """One line of a table."""

    work: str
    against: str
    goal: Goal | None
    ratio: Spread | None
    """None for what could not be run."""
    ours: str
    theirs: str

    @property
    def cells(self) -> tuple[str, ...]:
        """For the table."""
        said = "–" if self.ratio is None else self.ratio.words("×", 2)
        if self.goal is None:
            return self.work, self.against, "–", said, "–", self.ours, self.theirs
        judged = "not run" if self.ratio is None else self.goal.judged(self.ratio)
        return self.work, self.against, self.goal.words, said, judged, self.ours, self.theirs


HEADINGS = ("work", "against", "goal", "measured", "goal met", "ours", "theirs")


def not_run(work: str, against: str, goal: Goal | None, why: str) -> Line:
    """A line for what could not be run, with the reason."""
    return Line(work, against, goal, None, " ".join(why.split())[-300:].replace("|", "/"), "–")


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def head(command: str, peers: str, load: str) -> str:
    """Day, machine, versions and command. `load`: the machine's before the first measurement."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = (
        f"{time.strftime('%Y-%m-%d')}, {available_cpus()} cores of {processor()}, {gib:.0f} GiB",
        f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"Pillow {PIL.__version__}",
        peers,
        f"our commit {_commit()}",
        f"load of the machine before: {load}",
        f"command: `{command}`",
    )
    return "; ".join(part for part in parts if part) + ". Medians, in brackets the lowest and highest."


def load_before() -> str:
    """The machine's load of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.strip() or "unknown"
