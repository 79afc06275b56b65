"""Histories: a seed decides what is done and what goes wrong meanwhile. Pure; nothing is carried out here.

The first COVERING seeds together pass every named step of aimic/faults.py with a kill and every other kind of fault
at least once; all later ones are drawn freely.
"""

import random
from typing import Literal, NamedTuple

from aimic.events import ModelsChanged, TaskReady
from aimic.faults import POINTS

COVERING = 40
"""Seeds 0 … 39 cover everything."""
LONGEST = 3
"""Faults of one history, at most."""

Profile = Literal["embedded", "servers"]
Plot = Literal["refit", "fold", "frozen"]
"""What is trained: two folds and a refit; one fold, which is served; a head on frozen layers of an earlier model."""
PLOTS: tuple[Plot, ...] = ("refit", "fold", "frozen")
_SHARE: dict[Plot, int] = {"refit": 2, "fold": 5, "frozen": 1}
"""How often each is drawn where nothing binds a history: the quickest most."""
PROCESSES = ("ingest-0", "ingest-1", "trainer-0", "trainer-1", "child", "inference")
SERVERS = ("postgres", "kafka", "minio")


class Fault(NamedTuple):
    """Something that goes wrong `at` seconds after the history's begin."""

    kind: Literal["point", "kill", "stop", "away", "cut", "slow", "full", "topics", "poison", "repeat", "replay"]
    target: str = ""
    """A named step, a process, a server, or a topic."""
    wish: str = ""
    """Of a step: what happens there."""
    at: float = 0.0
    lasts: float = 0.0

    def __str__(self) -> str:
        parts = [self.kind, self.target, self.wish]
        when = f"at {self.at:.1f} s" + (f" for {self.lasts:.1f} s" if self.lasts else "")
        return " ".join(part for part in parts if part) + f" {when}"


class History(NamedTuple):
    """What one seed does."""

    seed: int
    plot: Plot
    evaluates: bool
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        wishes = self.plot + (" and an evaluation" if self.evaluates else "")
        return f"seed {self.seed}: {wishes}; " + "; ".join(map(str, self.faults))


def draw(seed: int, profile: Profile, lease_s: float) -> History:
    """The history of a seed."""
    rng = random.Random(f"aimic-{seed}")
    # Two at most that cost a worker its attempt: with three a task has honestly failed.
    due = _covering(profile, lease_s)[seed] if seed < COVERING else []
    while not due or not _agree(due):
        due = [_any(rng, profile, lease_s) for _ in range(rng.randint(1, 2))]
    if len(due) < LONGEST and rng.random() < 0.4:
        due = [*due, _harmless(rng, profile)]
    plot, evaluates = _stage(due, rng)
    return History(seed, plot, evaluates, tuple(due))


def everything(profile: Profile, lease_s: float) -> list[Fault]:
    """Every fault that the covering seeds share out."""
    rng = random.Random("aimic-everything")
    faults = [Fault("point", name, "kill") for name in POINTS]
    faults += [Fault("kill", name, at=rng.uniform(0.5, 5)) for name in PROCESSES]
    longer = lease_s + 1.5
    faults += [Fault("stop", name, at=rng.uniform(0.5, 4), lasts=longer) for name in ("trainer-0", "ingest-0")]
    faults += [Fault("stop", "inference", at=1.0, lasts=2.0), Fault("away", at=2.0, lasts=longer)]
    faults += [Fault("repeat", at=1.0, lasts=3.0), Fault("replay")]
    if profile == "servers":
        faults += [Fault("cut", name, at=rng.uniform(0.5, 4), lasts=rng.uniform(1.5, 4)) for name in SERVERS]
        faults += [Fault("slow", name, at=0.0, lasts=4.0) for name in SERVERS]
        faults += [Fault("full", "minio", at=1.0, lasts=3.0), Fault("full", "postgres", at=1.0, lasts=3.0)]
        faults += [Fault("topics", at=2.0), Fault("poison", TaskReady.topic), Fault("poison", ModelsChanged.topic)]
    return faults


def _covering(profile: Profile, lease_s: float) -> list[list[Fault]]:
    """Everything, dealt out so that what meets in one history can all happen there."""
    shared: list[list[Fault]] = [[] for _ in range(COVERING)]
    # What binds a history to a plot first; among these the rest finds its place.
    for fault in sorted(everything(profile, lease_s), key=lambda fault: not _bound(fault)):
        free = [hand for hand in shared if len(hand) < LONGEST - 1 and _agree([*hand, fault])]
        min(free, key=len).append(fault)
    random.Random("aimic-order").shuffle(shared)
    return shared


def _bound(fault: Fault) -> bool:
    return bool(_needs(fault)) or fault.target.startswith("inference.")


def _needs(fault: Fault) -> set[str]:
    """The plots in which a step is passed, `evaluate` meaning an evaluation; empty: any."""
    for kind in ("frozen", "refit", "evaluate"):
        if fault.target.startswith(f"ingest.finish.{kind}."):
            return {kind}
    # Only whole networks are trained in epochs, with checkpoints between them.
    epochs = ("ingest.finish.fold.", "child.", "trainer.checkpoint.", "ingest.checkpoint.")
    return {"refit", "fold"} if fault.target.startswith(epochs) else set()


def _agree(faults: list[Fault]) -> bool:
    plots = set(PLOTS)
    for fault in faults:
        needed = _needs(fault) - {"evaluate"}
        plots &= needed or plots
    return bool(plots)


def _stage(faults: list[Fault], rng: random.Random) -> tuple[Plot, bool]:
    plots = set(PLOTS)
    evaluates = rng.random() < 0.15
    for fault in faults:
        needed = _needs(fault)
        evaluates = evaluates or "evaluate" in needed
        plots &= (needed - {"evaluate"}) or plots
    fits = [plot for plot in PLOTS if plot in plots]
    return rng.choices(fits, [_SHARE[plot] for plot in fits])[0], evaluates


def _any(rng: random.Random, profile: Profile, lease_s: float) -> Fault:
    fault = rng.choice(everything(profile, lease_s))
    if fault.kind == "point":
        return fault._replace(wish=_wish(fault.target, rng, lease_s))
    return fault._replace(at=rng.uniform(0.0, 6.0), lasts=fault.lasts * rng.uniform(0.5, 1.2))


def _wish(point: str, rng: random.Random, lease_s: float) -> str:
    wishes = ["kill", f"pause:{rng.uniform(0.2, lease_s + 1):.1f}"]
    # A child or a worker that can't go on has no other way to say so than to end, which `kill` does.
    if not point.startswith(("child.", "trainer.claimed")):
        wishes.append("error")
    return rng.choice(wishes)


def _harmless(rng: random.Random, profile: Profile) -> Fault:
    faults = [Fault("repeat", at=rng.uniform(0, 4), lasts=3.0), Fault("replay")]
    if profile == "servers":
        faults += [Fault("slow", name, at=rng.uniform(0, 4), lasts=3.0) for name in SERVERS]
    return rng.choice(faults)
