"""Learning rate and momentum as pure functions of the step: nothing to checkpoint."""

import math
from typing import NamedTuple

WARM_UP = 0.3
START_DIVISOR = 25.0
END_DIVISOR = 1e4
LOW_MOMENTUM, HIGH_MOMENTUM = 0.85, 0.95


class Rates(NamedTuple):
    """What the optimiser uses for one step; `momentum` is β₁ for Adam; None leaves the optimiser's own."""

    lr: float
    momentum: float | None


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2.0 * (1 + math.cos(math.pi * fraction))


def one_cycle(step: int, steps: int, peak: float) -> Rates:
    """The one-cycle policy (Smith & Topin 2018) with the cosine form and defaults of torch's OneCycleLR.

    Up from peak/25 over the first 30 % of `steps`, down to peak/250,000; momentum the other way round.
    """
    start, end = peak / START_DIVISOR, peak / START_DIVISOR / END_DIVISOR
    up = WARM_UP * steps - 1
    if up > 0 and step <= up:
        done = step / up
        return Rates(_cosine(start, peak, done), _cosine(HIGH_MOMENTUM, LOW_MOMENTUM, done))
    done = min(1.0, (step - up) / max(1e-9, steps - 1 - up))
    return Rates(_cosine(peak, end, done), _cosine(LOW_MOMENTUM, HIGH_MOMENTUM, done))


def rates(schedule: str, step: int, steps: int, peak: float) -> Rates:
    """Rates of `step` (from 0) of `steps` under `onecycle` or `constant`."""
    return one_cycle(step, steps, peak) if schedule == "onecycle" else Rates(peak, None)
