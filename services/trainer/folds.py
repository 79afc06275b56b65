"""The tasks `fold` and `refit`: a network fitted on a part of the data, and its judgement of the rest."""

import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimic.domain.work import TaskInput
from aimic.errors import InvalidInputError
from services.trainer import checkpoint, oof
from services.trainer.context import Context, Outcome
from services.trainer.data import pixels
from services.trainer.loop import Fit, Plan
from services.trainer.machine import prepare
from services.trainer.network import build_net
from services.trainer.step import logits_of

WEIGHTS = "weights.safetensors"


def fold_plan(context: Context, fold: int) -> Plan:
    """Honest: the inner part chooses the epoch. Paper: all training folds fit, the held-out fold chooses."""
    settings, split = context.claim.settings, context.claim.split
    assert settings.epochs is not None
    train, inner = split.train(fold), split.inner[fold]
    if settings.protocol == "paper":
        everything = tuple(sorted({*train, *inner}))
        return Plan(everything, split.reported(fold), settings.epochs, settings.patience, "accuracy", "held_out")
    return Plan(train, inner, settings.epochs, settings.patience, "loss" if inner else None, "inner")


def refit_epochs(inputs: dict[str, TaskInput]) -> int:
    """How long a refit trains: the median best epoch of the folds, halves rounded up."""
    return int(statistics.median(result.result["best_epoch"] for result in inputs.values()) + 0.5)


def _fit(context: Context, plan: Plan) -> tuple[Fit, NDArray[np.uint8], dict[str, Any]]:
    if not plan.train:
        raise InvalidInputError(
            "There is no image to train on in this part of the split. Nothing was changed; "
            "choose a split with a larger training part."
        )
    machine = prepare(context.claim.settings)
    net = build_net(context)
    needed = sorted({*plan.train, *plan.validate, *_reported(context)})
    images = pixels(context, needed, net.preprocessing)
    fit = Fit(context, net, images, plan, machine)
    for note in net.notes:
        context.report.warning(note)
    journal = fit.run()
    best = journal.epoch if journal.best_epoch is None else journal.best_epoch + 1
    facts: dict[str, Any] = {
        "best_epoch": best,
        "epochs": journal.epoch,
        "log": [row.model_dump(mode="json") for row in journal.log],
        "machine": journal.machine.model_dump(mode="json"),
        "resumed_elsewhere": journal.resumed_elsewhere,
        "class_mix": np.bincount(context.targets[list(plan.train)], minlength=len(context.classes)).tolist(),
        "notes": list(net.notes),
        "weights_card": net.weights_card.model_dump(mode="json"),
    }
    return fit, images, facts


def _reported(context: Context) -> tuple[int, ...]:
    fold = context.claim.task.fold
    return () if fold is None else context.claim.split.reported(fold)


def run_fold(context: Context) -> Outcome:
    """Fit one fold; judge its reported part once, with the chosen weights."""
    fold = context.claim.task.fold
    assert fold is not None
    fit, images, facts = _fit(context, fold_plan(context, fold))
    reported = context.claim.split.reported(fold)
    logits = logits_of(fit.net, fit.machine.device, images, reported, context.report.alive)
    files = {oof.NAME: context.file(oof.NAME)}
    oof.OutOfFold.of(reported, context.targets, fold, logits).write(files[oof.NAME])
    if context.claim.serve == f"fold:{fold}":
        files[WEIGHTS] = context.file(WEIGHTS)
        checkpoint.save_tensors(files[WEIGHTS], fit.net.state())
    return Outcome({"fold": fold, **facts}, files)


def run_refit(context: Context) -> Outcome:
    """Fit all data of the split for as many epochs as the folds found best; nothing is left to judge it on."""
    folds = context.inputs(lambda key: "/fold/" in key)
    plan = Plan(context.claim.split.everything(), (), refit_epochs(folds), None, None)
    fit, _, facts = _fit(context, plan)
    file = context.file(WEIGHTS)
    checkpoint.save_tensors(file, fit.net.state())
    return Outcome(facts, {WEIGHTS: file})
