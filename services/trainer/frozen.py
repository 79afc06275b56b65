"""The task `frozen`: features once for all folds, then the heads of all folds, and the one to serve."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aimic.domain.base import sha256_of
from aimic.errors import InvalidInputError
from aimic.nets.forward import features_of, images_at_once
from aimic.nets.net import Net
from services.trainer import checkpoint, oof
from services.trainer.context import Context, Outcome
from services.trainer.data import pixels
from services.trainer.folds import WEIGHTS
from services.trainer.heads import (
    FINAL_TOLERANCE,
    Choice,
    Floats,
    Head,
    Problem,
    Standard,
    choose_strength,
)
from services.trainer.machine import Machine, prepare
from services.trainer.network import build_net
from services.trainer.rows import RowCache

MIDDLE_STRENGTH = 1e-2
"""λ where a fold has no inner part to choose it on."""


@dataclass(frozen=True)
class FoldHead:
    """What came of one fold; `head` takes features as the network gives them."""

    fold: int
    strength: float
    losses: dict[float, float]
    head: Head


def run_frozen(context: Context) -> Outcome:
    """Heads of all folds on frozen features, each judged once on its reported part, and the served one."""
    machine = prepare(context.claim.settings)
    net = build_net(context)
    split = context.claim.split
    part = sorted(split.everything())
    if not part:
        raise InvalidInputError("There is no image to train on. Import some, or choose another split.")
    known = features(context, net, machine, part)
    heads = _fold_heads(context, known)
    judged = oof.OutOfFold.pool(_judge(context, known, head) for head in heads)
    files = {oof.NAME: context.file(oof.NAME), WEIGHTS: context.file(WEIGHTS)}
    judged.write(files[oof.NAME])
    served, strength = _served(context, known, heads, part)
    _install(net, served)
    checkpoint.save_tensors(files[WEIGHTS], net.state())
    return Outcome(_facts(context, net, machine, heads, strength), files)


def features(context: Context, net: Net, machine: Machine, indices: Sequence[int]) -> NDArray[np.float32]:
    """Memory map [samples, d] of which the rows of `indices` are what the frozen network says of each image.

    Kept per manifest, preprocessing, network, weights and whatever decides the last bits, so that a later
    job with other seeds, folds or heads starts at once.
    """
    key = sha256_of(
        {
            "manifest": context.claim.manifest_hash,
            "preprocessing": net.preprocessing.model_dump(mode="json"),
            "network": net.network,
            "weights": net.weights_card.sha256,
            "machine": machine.model_dump(mode="json"),
            "together": images_at_once(net.preprocessing.image_size),
        }
    )
    rows, wide = len(context.spec.samples), net.head.in_features
    cache = RowCache(context.spec.cache / "features" / key[:32], rows, (wide,), "f4")
    missing = cache.missing(indices)
    if missing:
        images = pixels(context, missing, net.preprocessing)
        net.module.to(machine.device)
        _fill_features(context, net, machine, cache, missing, images)
    found = cache.rows()
    assert found.dtype == np.float32
    return found  # type: ignore[return-value]  # the dtype was just checked


def _fill_features(
    context: Context,
    net: Net,
    machine: Machine,
    cache: RowCache,
    missing: Sequence[int],
    images: NDArray[np.uint8],
) -> None:
    """Block by block of the manifest, each of the same size: the last bits depend on how many images go through
    the network together, and must not depend on which of them were known before. Places in a block that nobody
    needs, or may see, stay empty.
    """
    started = time.perf_counter()
    net.train(False)
    together = images_at_once(net.preprocessing.image_size)

    def compute(part: Sequence[int]) -> NDArray[np.generic]:
        places = [index % together for index in part]
        block = np.zeros((together, *images.shape[1:]), dtype=np.uint8)
        block[places] = images[list(part)]
        return features_of(net, block, machine.device)[places]

    def progress(done: int, total: int) -> None:
        context.check_stop()
        context.report.batch("features", done, total, done / (time.perf_counter() - started))

    cache.fill(missing, compute, together, progress, context.check_stop)


def _part(known: NDArray[np.float32], indices: Sequence[int]) -> Floats:
    return known[list(indices)].astype(np.float64)


def _fold_heads(context: Context, known: NDArray[np.float32]) -> list[FoldHead]:
    heads: list[FoldHead] = []
    k = context.claim.split.k
    for fold in range(k):
        context.check_stop()
        context.report.batch("heads", fold, k)
        heads.append(fold_head(context, known, fold))
    context.report.batch("heads", k, k)
    return heads


def fold_head(context: Context, known: NDArray[np.float32], fold: int) -> FoldHead:
    """Choose λ on the inner part, then fit again on all training folds, the inner part included."""
    split, targets, classes = context.claim.split, context.targets, len(context.classes)
    train, inner = list(split.train(fold)), list(split.inner[fold])
    choice: Choice | None = None
    if inner and train:
        standard = Standard.of(_part(known, train))
        choice = choose_strength(
            standard(_part(known, train)),
            targets[train],
            standard(_part(known, inner)),
            targets[inner],
            classes,
            context.check_stop,
        )
    strength = choice.strength if choice else MIDDLE_STRENGTH
    head = _final_head(context, known, sorted([*train, *inner]), strength, choice.head if choice else None)
    return FoldHead(fold, strength, choice.losses if choice else {}, head)


def _final_head(
    context: Context, known: NDArray[np.float32], part: list[int], strength: float, start: Head | None
) -> Head:
    x = _part(known, part)
    standard = Standard.of(x)
    problem = Problem(standard(x), context.targets[part], len(context.classes), context.check_stop)
    return problem.solve(strength, start, FINAL_TOLERANCE).folded(standard)


def _judge(context: Context, known: NDArray[np.float32], head: FoldHead) -> oof.OutOfFold:
    reported = context.claim.split.reported(head.fold)
    logits = head.head.logits(_part(known, reported)).astype(np.float32)
    return oof.OutOfFold.of(reported, context.targets, head.fold, logits)


def _served(context: Context, known: NDArray[np.float32], heads: list[FoldHead], part: list[int]) -> tuple[Head, float]:
    """One fold's head, or a refit on everything with the geometric mean of the folds' λ."""
    serve = context.claim.serve
    if serve != "refit":
        chosen = heads[int(serve.removeprefix("fold:"))]
        return chosen.head, chosen.strength
    strength = float(np.exp(np.mean([np.log(head.strength) for head in heads])))
    return _final_head(context, known, part, strength, None), strength


def _install(net: Net, head: Head) -> None:
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(head.weight))
        net.head.bias.copy_(torch.from_numpy(head.bias))


def _facts(context: Context, net: Net, machine: Machine, heads: list[FoldHead], strength: float) -> dict[str, Any]:
    split = context.claim.split
    part = split.everything()
    if context.claim.serve != "refit":
        fold = int(context.claim.serve.removeprefix("fold:"))
        part = tuple(sorted({*split.train(fold), *split.inner[fold]}))
    return {
        "folds": [
            {
                "fold": head.fold,
                "lambda": head.strength,
                "inner_losses": {f"{strength:.3g}": loss for strength, loss in head.losses.items()},
            }
            for head in heads
        ],
        "lambda": strength,
        "machine": machine.model_dump(mode="json"),
        "resumed_elsewhere": False,
        "class_mix": np.bincount(context.targets[list(part)], minlength=len(context.classes)).tolist(),
        "notes": list(net.notes),
        "weights_card": net.weights_card.model_dump(mode="json"),
    }
