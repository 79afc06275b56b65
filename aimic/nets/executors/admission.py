"""Which executors may stand for eager torch: those whose answers nobody could tell from its own.

Twice: on out-of-fold images when the bundle is made (`judgement`, kept in it), and on the bundle's check inputs on the
machine that serves (`compared`).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimic.domain.executor import Admission, Judgement
from aimic.nets.bundle import BundleInfo
from aimic.nets.calibration import probabilities

LARGEST = {"fp32": 1e-3, "bf16": 5e-3}
"""Largest difference of a probability, by precision."""
BATCH = 1e-5
"""Largest difference of a probability between batches, in float32."""
_PARTS = (1, 2, 3, 5, 8, 13)
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def judgement(
    name: str, precision: str, info: BundleInfo, reference: NDArray[np.float32], found: NDArray[np.float32]
) -> tuple[Judgement, float]:
    """Counts of logits [n, classes], n from 1, against those of eager torch, and the largest difference of a
    probability (1 for what is no number)."""
    allowed = LARGEST[precision]
    found = found if found.shape == reference.shape else np.full_like(reference, np.nan)
    sound = np.asarray(np.isfinite(found).all(axis=1))
    kept = np.where(sound[:, None], found, reference)
    before, after = probabilities(reference, info.temperature), probabilities(kept, info.temperature)
    unsure, close = _unsure(before, info, allowed)
    changed = unsure != _unsure(after, info, allowed)[0]
    difference = np.where(sound, np.abs(after - before).max(axis=1), 1.0)
    counts = Judgement(
        executor=name,
        images=len(reference),
        labels_changed=int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
        abstentions_changed=int((changed & ~close).sum()),
        near_threshold=int((changed & close).sum()),
        allowed=allowed,
        beyond=int((~(difference <= allowed)).sum()),
    )
    return counts, float(difference.max())


def admitted(name: str, precision: str, info: BundleInfo) -> bool:
    """Whether the bundle's own record lets this executor serve it."""
    kept = info.judgement(name)
    return kept is not None and kept.admits and kept.allowed <= LARGEST[precision]


def of_record(name: str, precision: str, info: BundleInfo) -> Admission:
    """What the bundle's record says of an executor, which it need not know."""
    kept = info.judgement(name)
    if kept is None:
        reason = "It was not judged on out-of-fold images when this model was made."
        nothing = {"images": 0, "labels_changed": 0, "abstentions_changed": 0}
        return Admission(executor=name, judged_on="out-of-fold images", **nothing, admitted=False, reason=reason)
    may = admitted(name, precision, info)
    return Admission(
        executor=name,
        judged_on="out-of-fold images",
        images=kept.images,
        labels_changed=kept.labels_changed,
        abstentions_changed=kept.abstentions_changed,
        near_threshold=kept.near_threshold,
        admitted=may,
        reason="" if may else "It answered otherwise than eager torch when this model was made.",
    )


def compared(
    name: str,
    precision: str,
    info: BundleInfo,
    reference: NDArray[np.float32],
    found: NDArray[np.float32],
    *,
    batch_difference: float = 0.0,
) -> Admission:
    """Judge an executor by its logits [n, classes] of the check inputs against those of eager torch."""
    allowed = LARGEST[precision]
    seen: dict[str, Any] = {"executor": name, "judged_on": "check inputs", "images": len(reference)}
    if found.shape != reference.shape or not np.isfinite(found).all():
        nothing = {"labels_changed": 0, "abstentions_changed": 0, "largest_difference": 1.0}
        return Admission(**seen, **nothing, admitted=False, reason="It gave no numbers.")
    before, after = probabilities(reference, info.temperature), probabilities(found, info.temperature)
    unsure, close = _unsure(before, info, allowed)
    changed = unsure != _unsure(after, info, allowed)[0]
    seen |= {
        "labels_changed": int((before.argmax(axis=1) != after.argmax(axis=1)).sum()),
        "abstentions_changed": int((changed & ~close).sum()),
        "near_threshold": int((changed & close).sum()),
        "largest_difference": float(np.abs(after - before).max(initial=0.0)),
        "batch_difference": batch_difference,
    }
    reason = _reason(seen, allowed, BATCH if precision == "fp32" else math.inf)
    return Admission(**seen, admitted=not reason, reason=reason)


def batch_difference(run: Run, inputs: NDArray[np.uint8], info: BundleInfo) -> float:
    """Largest difference of a probability between the inputs in one batch and in batches of 1, 2, 3, 5, 8, 13."""
    whole = probabilities(run(inputs), info.temperature)
    largest, start = 0.0, 0
    for size in _PARTS:
        part = inputs[start : start + size]
        if len(part):
            found = probabilities(run(part), info.temperature)
            largest = max(largest, float(np.abs(found - whole[start : start + size]).max()))
        start += size
    return largest


def _unsure(chances: NDArray[np.float64], info: BundleInfo, allowed: float) -> tuple[NDArray[np.bool_], ...]:
    """Per image whether the model abstains, and whether that hangs on less than `allowed`."""
    limits = np.array([(info.thresholds or {}).get(label, 0.0) for label in info.classes])
    best = chances.argmax(axis=1)
    above = chances[np.arange(len(chances)), best] - limits[best]
    return above < 0, np.abs(above) <= allowed


def _reason(seen: dict[str, Any], allowed: float, batch: float) -> str:
    """Why it is not admitted; nothing when it is."""
    if seen["labels_changed"]:
        return f"It gave {seen['labels_changed']} of the images another label."
    if seen["abstentions_changed"]:
        return f"It decided otherwise on {seen['abstentions_changed']} of the images whether the model abstains."
    if not seen["largest_difference"] <= allowed:
        return f"A probability differs by {seen['largest_difference']:.2g}; {allowed:g} is allowed."
    if not seen["batch_difference"] <= batch:
        return f"A probability depends on its batch, by {seen['batch_difference']:.2g}; {batch:g} is allowed."
    return ""
