"""The task `evaluate`: a finished model on images that are new to it."""

import numpy as np
from numpy.typing import NDArray

from aimic.domain import metrics
from aimic.domain.units import units
from aimic.errors import InvalidInputError
from aimic.nets.bundle import unpack
from aimic.nets.calibration import probabilities
from aimic.nets.forward import MICRO_BATCH, logits_of
from aimic.nets.statefile import read_bundle_states
from aimic.nets.zoo import restore
from services.trainer import transfer
from services.trainer.context import Context, Outcome
from services.trainer.data import pixels
from services.trainer.machine import prepare
from services.trainer.patients import new_to


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
    together = units([sample.group for sample in context.spec.samples], context.claim.clusters)
    report = metrics.report(
        labels,
        np.log(np.maximum(probabilities(np.concatenate(parts), info.temperature), 1e-300)),
        [0] * len(labels),
        info.classes,
        protocol="honest",
        units=[int(together[index]) for index in wish.indices],
        patients=new_to(info, context.spec.samples, wish.indices),
        kind="evaluation",
    )
    return Outcome({"metrics": report, "judged": len(labels)})
