"""The task `package`: weights, numbers and facts become one bundle file."""

from pathlib import Path

from aimic.domain.split import ALWAYS_TRAIN
from aimic.domain.work import BUNDLE_OBJECT, TaskInput
from aimic.errors import CorruptError
from aimic.nets.bundle import Member, Temperature, export
from aimic.nets.package import Training, admit, package
from services.trainer import checkpoint, transfer
from services.trainer.admitting import judged as tried
from services.trainer.context import Context, Outcome
from services.trainer.folds import WEIGHTS
from services.trainer.machine import Machine
from services.trainer.network import build_net


def run_package(context: Context) -> Outcome:
    """Write the bundle of the served weights; the same training gives the same bytes and so the same hash."""
    judged = next(iter(context.inputs(lambda key: key.endswith("/judge")).values()))
    fitted = _served(context)
    folder = context.directory / "bundle"
    context.report.batch("package", 0, 1)
    digest = _packed(context, folder, judged, fitted)
    executors = tried(context, judged, folder)
    if executors.judgements:
        digest = admit(folder, executors.judgements)
    bundle = context.file(BUNDLE_OBJECT)
    export(folder, bundle)
    context.report.batch("package", 1, 1)
    result = {
        "bundle_hash": digest,
        "size": bundle.stat().st_size,
        "metrics": judged.result["metrics"],
        "executors": executors.model_dump(mode="json"),
    }
    return Outcome(result, {BUNDLE_OBJECT: bundle})


def _packed(context: Context, folder: Path, judged: TaskInput, fitted: TaskInput) -> str:
    """The bundle without a word of executors; its hash. The network is let go: what comes next needs the memory."""
    net = build_net(context)
    file = transfer.fetch(fitted.objects[WEIGHTS], context.directory / WEIGHTS, "the trained weights")
    net.load_state(checkpoint.load_tensors(file))
    return package(folder, net, _training(context, judged, fitted))


def _served(context: Context) -> TaskInput:
    """What the task that made the served weights left."""
    for task in context.inputs(lambda key: not key.endswith("/judge")).values():
        if WEIGHTS in task.objects:
            return task
    raise CorruptError("No finished task of this job has the weights to serve, so no model can be made.")


def _training(context: Context, judged: TaskInput, fitted: TaskInput) -> Training:
    claim = context.claim
    used = {index for index, fold in enumerate(claim.split.folds) if fold >= 0 or fold == ALWAYS_TRAIN}
    members = tuple(
        Member(sha256=context.hashes[index], phash=claim.phashes[index], fold=claim.split.folds[index])
        for index in range(len(context.hashes))
        if index in used
    )
    return Training(
        classes=context.classes,
        manifest_hash=claim.manifest_hash,
        membership=members,
        split={
            "request": claim.split.request.model_dump(mode="json"),
            "seed": claim.split.seed,
            "k": claim.split.k,
            "serve": claim.serve,
        },
        settings=claim.settings.model_dump(mode="json"),
        metrics=judged.result["metrics"],
        class_mix=tuple(fitted.result["class_mix"]),
        temperature=Temperature.model_validate(judged.result["temperature"]),
        notes=tuple(_notes(context, judged, fitted)),
    )


def _notes(context: Context, judged: TaskInput, fitted: TaskInput) -> list[str]:
    notes = []
    if context.claim.serve == "refit":
        notes.append(
            "The weights are a refit on all data of the split; the metrics and the temperature are those of "
            "the cross-validation's folds."
        )
    elif judged.result["temperature"]["fitted"]:
        notes.append(
            "The temperature was fitted on the very images that are reported, so how well the probabilities are "
            "calibrated was not judged on new ones."
        )
    notes += judged.result["warnings"]
    machine = Machine.model_validate(fitted.result["machine"])
    if str(machine) not in judged.result["machines"]:
        notes.append(f"The weights were fitted on {machine}, but the folds that are reported on other machines.")
    if fitted.result.get("resumed_elsewhere") and context.claim.serve == "refit":
        notes.append("The training was interrupted and went on, on another kind of machine.")
    if machine.precision != "float32" and "best_epoch" in fitted.result:
        notes.append(f"Trained with {machine.precision} arithmetic; judged and served in float32.")
    return notes
