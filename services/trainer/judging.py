"""The tasks `judge` (a job's own out-of-fold logits) and `evaluate` (a finished model on another data set)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimic.domain import metrics
from aimic.domain.units import units
from aimic.errors import CorruptError, InvalidInputError
from aimic.nets.bundle import unpack
from aimic.nets.calibration import fit_temperature, probabilities
from aimic.nets.forward import MICRO_BATCH, logits_of
from aimic.nets.statefile import read_bundle_states
from aimic.nets.zoo import restore
from services.trainer import oof, transfer
from services.trainer.context import Context, Outcome
from services.trainer.data import pixels
from services.trainer.machine import prepare


def run_judge(context: Context) -> Outcome:
    """Pool the out-of-fold logits of all folds: metrics, and the temperature that makes them honest."""
    context.report.batch("judge", 0, 1)
    fits = context.inputs(lambda _: True)
    parts = []
    for number, (key, task) in enumerate(fits.items()):
        what = f"the judgements of {key}"
        file = context.directory / "oof" / f"{number}.safetensors"
        parts.append(oof.OutOfFold.read(transfer.fetch(task.objects[oof.NAME], file, what)))
    judged = oof.OutOfFold.pool(parts)
    _check_complete(context, judged)
    epochs = {
        task.result["fold"]: {name: task.result[name] for name in ("best_epoch", "epochs")}
        for task in fits.values()
        if "fold" in task.result
    }
    temperature = fit_temperature(judged.logits, judged.labels)
    result = {
        "metrics": _report(context, judged, epochs),
        "temperature": temperature.model_dump(mode="json"),
        "machines": sorted({str(task.result["machine"]["processor"]) for task in fits.values()}),
    }
    context.report.batch("judge", 1, 1)
    return Outcome(result)


def _check_complete(context: Context, judged: oof.OutOfFold) -> None:
    """Every image of every reported fold was judged, once: `pool` saw to the once."""
    expected = [index for index, fold in enumerate(context.claim.split.folds) if fold >= 0]
    if judged.indices.tolist() != expected:
        raise CorruptError(
            f"The folds judged {len(judged.indices)} images, but the split reports {len(expected)}; "
            "their results can't be pooled. Start the job again."
        )


def _report(context: Context, judged: oof.OutOfFold, epochs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    together, groups = _units(context)
    return metrics.report(
        judged.labels,
        judged.logits,
        judged.folds.tolist(),
        context.classes,
        protocol=context.claim.settings.protocol,
        units=[together[index] for index in judged.indices],
        groups=groups,
        epochs=epochs,
        seed=context.claim.settings.seed,
    )


def _units(context: Context) -> tuple[list[int], bool]:
    """Which images belong together (patient or duplicate), and whether patients are known."""
    groups = [sample.group for sample in context.spec.samples]
    together = units(groups, context.claim.clusters)
    return [int(unit) for unit in together], any(group is not None for group in groups)


def run_evaluate(context: Context) -> Outcome:
    """Judge a bundle on the samples that ingest found it can't know; its temperature is used as it stands."""
    wish = context.claim.evaluate
    if wish is None or not wish.indices:
        raise InvalidInputError(
            "No image of this data set is new to the model and of a class that it knows, so there is nothing "
            "to judge it on. The list of what was left out says why, image by image."
        )
    machine = prepare(context.claim.settings)
    file = transfer.fetch(wish.bundle_url, context.directory / "fetched.aimic", "the model")
    folder = context.directory / "bundle"
    info = unpack(file, folder)
    nets = [restore(info, state) for state in read_bundle_states(folder, info)]
    for net in nets:
        net.module.to(machine.device)
    images = pixels(context, wish.indices, info.preprocessing)
    place = {name: position for position, name in enumerate(info.classes)}
    labels = np.array([place[context.claim.classes[context.spec.samples[index].label]] for index in wish.indices])
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(wish.indices), MICRO_BATCH):
        context.check_stop()
        context.report.batch("judge", start, len(wish.indices))
        rows = list(wish.indices[start : start + MICRO_BATCH])
        parts.append(logits_of(nets, images[rows], machine.device))
    together, groups = _units(context)
    report = metrics.report(
        labels,
        np.log(np.maximum(probabilities(np.concatenate(parts), info.temperature), 1e-300)),
        [0] * len(labels),
        info.classes,
        protocol="honest",
        units=[together[index] for index in wish.indices],
        groups=groups,
    )
    return Outcome({"metrics": report, "judged": len(labels)})
