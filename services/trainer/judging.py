"""The task `judge`: a job's own out-of-fold logits become its numbers."""

from collections.abc import Mapping
from typing import Any

from aimic.domain import metrics
from aimic.domain.units import units
from aimic.domain.work import TaskInput
from aimic.errors import CorruptError
from aimic.nets.calibration import fit_temperature
from services.trainer import oof, transfer
from services.trainer.context import Context, Outcome
from services.trainer.machine import Machine
from services.trainer.patients import among


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
    machines = sorted({str(Machine.model_validate(task.result["machine"])) for task in fits.values()})
    warnings = _warnings(fits, machines)
    for warning in warnings:
        context.report.warning(warning)
    result = {
        "metrics": {**_report(context, judged, epochs), "warnings": warnings},
        "temperature": temperature.model_dump(mode="json"),
        "machines": machines,
        "warnings": warnings,
    }
    pooled = context.file(oof.NAME)
    judged.write(pooled)  # for the task that packages: on which images executors are looked at
    context.report.batch("judge", 1, 1)
    return Outcome(result, {oof.NAME: pooled})


def _warnings(fits: Mapping[str, TaskInput], machines: list[str]) -> list[str]:
    """What a reader of the numbers should know of how they came about."""
    found = []
    if len(machines) > 1:
        found.append(
            "The folds ran on machines or with a precision that differ, so a difference between folds may come "
            f"from there, and the same seed need not give the same numbers again: {'; '.join(machines)}."
        )
    moved = [key for key, task in fits.items() if task.result.get("resumed_elsewhere")]
    if moved:
        found.append(
            f"The training of {', '.join(moved)} was interrupted and went on, on another kind of machine; its last "
            "digits may differ from a run without interruption."
        )
    return found


def _check_complete(context: Context, judged: oof.OutOfFold) -> None:
    """Every image of every reported fold was judged, once: `pool` saw to the once."""
    expected = [index for index, fold in enumerate(context.claim.split.folds) if fold >= 0]
    if judged.indices.tolist() != expected:
        raise CorruptError(
            f"The folds judged {len(judged.indices)} images, but the split reports {len(expected)}; "
            "their results can't be pooled. Start the job again."
        )


def _report(context: Context, judged: oof.OutOfFold, epochs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    groups = [sample.group for sample in context.spec.samples]
    together = units(groups, context.claim.clusters)
    return metrics.report(
        judged.labels,
        judged.logits,
        judged.folds.tolist(),
        context.classes,
        protocol=context.claim.settings.protocol,
        units=[int(together[index]) for index in judged.indices],
        patients=among(groups[index] for index in context.claim.split.everything()),
        epochs=epochs,
        seed=context.claim.settings.seed,
    )
