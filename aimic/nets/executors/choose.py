"""Which executor a bundle gets on this machine: measured once.

Candidates that didn't answer as eager torch does when the bundle was made, or don't here, are out; of the others the
one of the least time wins, eager torch unless another is clearly quicker.
"""

import gc
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from aimic.domain.executor import Admission, ExecutorChoice, Timing
from aimic.errors import AimicError
from aimic.nets.bundle import Bundle, inspect
from aimic.nets.executors.admission import admitted, batch_difference, compared, of_record
from aimic.nets.executors.base import Executor, Source
from aimic.nets.executors.kinds import Kind, candidates, eager_on, make
from aimic.nets.executors.libraries import versions
from aimic.nets.executors.machine import machine_class
from aimic.nets.forward import images_at_once
from aimic.nets.restoring import check_tensors, restored

logger = logging.getLogger(__name__)

WEIGHT_OF_ONE = 0.5
"""One image at a time and whole sets count the same: we can't know which a laboratory will send."""
CLEARLY = 0.95
"""Eager torch stays unless another takes less than this part of its time: a measurement errs by a few per cent."""
_TURNS_S = 0.7
_LONGEST_S = 5.0
_LEAST_TURNS = 3


def choose(directory: Path, device: torch.device, *, reduced: bool = False) -> ExecutorChoice:
    """Measure a bundle on this machine, with as many threads as torch has. CorruptError for a damaged bundle."""
    bundle = inspect(directory)
    inputs, _ = check_tensors(directory)
    source = Source(restored(directory, bundle.info), device, torch.get_num_threads())
    admissions: list[Admission] = []
    timings: list[Timing] = []
    eager, *others = candidates(device.type, reduced=reduced)
    reference = _in_parts(make(eager.name, source))(inputs)
    for kind in (eager, *others):
        if kind is not eager and not admitted(kind.name, kind.precision, bundle.info):
            admissions.append(of_record(kind.name, kind.precision, bundle.info))
            continue
        # One at a time: several copies of a network's weights may not fit this machine's memory.
        gc.collect()
        try:
            admission, took = _tried(kind, source, bundle, inputs, reference)
        except Exception as error:  # of any library, of any type, also while it runs: the others are still there
            if kind is eager:
                raise
            cause = str(error)[:1000] or type(error).__name__
            logger.warning("executor left out", extra={"executor": kind.name, "cause": cause})
            continue
        admissions.append(admission)
        timings += took
    return ExecutorChoice(
        bundle_hash=bundle.hash,
        machine_class=machine_class(torch.get_num_threads(), reduced=reduced),
        executor=quickest(timings),
        weight_of_one=WEIGHT_OF_ONE,
        timings=tuple(timings),
        admissions=tuple(admissions),
        libraries=versions(),
    )


def quickest(timings: list[Timing], weight_of_one: float = WEIGHT_OF_ONE) -> str:
    """The name of the one with the least weighted geometric mean; the first (eager) unless it is clearly less."""
    if not timings:
        raise AimicError("No executor could be measured, not even eager torch.")
    first, *others = timings
    best, least = first, CLEARLY * _score(first, weight_of_one)
    for other in others:
        if _score(other, weight_of_one) < least:
            best, least = other, _score(other, weight_of_one)
    return best.executor


def timing(executor: Executor, inputs: NDArray[np.uint8]) -> Timing:
    """The least time of one image and of a batch, after a warm-up: a neighbour only ever makes it longer."""
    batch = inputs[: images_at_once(inputs.shape[1])]
    return Timing(
        executor=executor.name,
        one_s=_least(lambda: executor.run(inputs[:1])),
        many_s=_least(lambda: executor.run(batch)),
        images=len(batch),
    )


def _score(timing: Timing, weight_of_one: float) -> float:
    return math.exp(weight_of_one * math.log(timing.one_s) + (1 - weight_of_one) * math.log(timing.many_s))


def _least(work: Callable[[], object]) -> float:
    """Seconds. As many turns as fit 0.7 s, at least three, of a very slow network fewer."""
    work()
    took: list[float] = []
    while sum(took) < _TURNS_S or (len(took) < _LEAST_TURNS and sum(took) < _LONGEST_S):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took)


def _tried(
    kind: Kind, source: Source, bundle: Bundle, inputs: NDArray[np.uint8], reference: NDArray[np.float32]
) -> tuple[Admission, list[Timing]]:
    """How it answers, and its time if it may be chosen. Whatever its library raises."""
    executor = make(kind.name, source)
    run = _in_parts(executor)
    apart = batch_difference(run, inputs, bundle.info)
    found = run(inputs)
    admission = compared(kind.name, kind.precision, bundle.info, reference, found, batch_difference=apart)
    may = admission.admitted or kind.name == eager_on(kind.device).name
    return admission, [timing(executor, inputs)] if may else []


def _in_parts(executor: Executor) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        step = images_at_once(pixels.shape[1])
        return np.concatenate([executor.run(pixels[start : start + step]) for start in range(0, len(pixels), step)])

    return run
