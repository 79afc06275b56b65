"""The words of the tables: what was measured, against what, whether the goal is met, and on which machine."""

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
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


_LOOK_S = 2.0
HEADINGS = ("work", "against", "goal", "measured", "goal met", "ours", "theirs")


def not_run(work: str, against: str, goal: Goal | None, why: str) -> Line:
    """A line for what could not be run, with the reason."""
    return Line(work, against, goal, None, " ".join(why.split())[-300:].replace("|", "/"), "–")


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def head(command: str, peers: str, others: str) -> str:
    """Day, machine, versions and command. `others`: what they used of the machine before the first measurement."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = (
        f"{time.strftime('%Y-%m-%d')}, {available_cpus()} cores of {processor()}, {gib:.0f} GiB",
        f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"Pillow {PIL.__version__}",
        peers,
        f"our commit {_commit()}",
        f"others at work on {others} of the cores before",
        f"command: `{command}`",
    )
    return "; ".join(part for part in parts if part) + ". Medians, in brackets the lowest and highest."


def used_by_others() -> str:
    """What share of the machine's cores is at work, before a part begins."""
    before = _ticks()
    time.sleep(_LOOK_S)
    idle, passed = (now - then for now, then in zip(_ticks(), before, strict=True))
    return f"{100 * (1 - idle / passed):.0f} %"


def _ticks() -> tuple[int, int]:
    """Of all cores since the start: idle, and all."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return done.stdout.strip() or "unknown"
