"""Logits become an answer that can be filed: calibrated, in class order, naming all that it rests on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimic.domain.model import ServingEntry
from aimic.domain.prediction import Answer
from aimic.nets.bundle import BundleInfo
from aimic.nets.calibration import probabilities


@dataclass(frozen=True, slots=True)
class Source:
    """What an answer rests on."""

    entry: ServingEntry
    info: BundleInfo
    executor: str
    request_id: str


def answer_of(logits: NDArray[np.float32], source: Source) -> Answer:
    """The answer for one image's logits [classes], by the bundle's temperature and thresholds."""
    info = source.info
    chances = dict(zip(info.classes, probabilities(logits, info.temperature).tolist(), strict=True))
    best = max(chances, key=chances.__getitem__)
    unsure = chances[best] < (info.thresholds or {}).get(best, 0.0)
    return Answer(
        label=None if unsure else best,
        probabilities=chances,
        abstained=unsure,
        reason="unsure" if unsure else None,
        model=source.entry.name,
        version=source.entry.version,
        bundle_hash=source.entry.bundle_hash,
        executor=source.executor,
        request_id=source.request_id,
    )
