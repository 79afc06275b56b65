"""The network of a task, built from the weights that the claim names."""

from pathlib import Path

from aimic.domain.work import WeightsSource
from aimic.errors import CorruptError
from aimic.nets.bundle import unpack
from aimic.nets.net import Net
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from services.trainer import transfer
from services.trainer.context import Context
from services.trainer.draws import draw


def build_net(context: Context) -> Net:
    """The task's network with a head for the split's classes, in the job's mode.

    A new head (or a whole network without weights) is drawn from the job's seed: the same in every task.
    """
    settings, network = context.claim.settings, context.claim.task.network
    weights = _weights(context.claim.weights, context.directory / "weights", context.spec.weights_dir)
    assert settings.image_size is not None
    net = build(
        network,
        len(context.classes),
        settings.image_size,
        weights,
        seed=draw(settings.seed, 0, network, "init"),
        class_names=context.classes,
    )
    net.set_mode(settings.mode)
    return net


def _weights(source: WeightsSource, directory: Path, weights_dir: Path | None) -> Weights:
    if source.kind == "none":
        return Weights.none()
    if source.kind == "imagenet":
        return Weights.imagenet(weights_dir)
    if source.url is None:
        raise CorruptError(f"The task names weights {source.name!r}, but not where they are.")
    file = transfer.fetch(source.url, directory / "fetched", f"the weights {source.name}")
    if source.kind == "file":
        return Weights.file(file, source.name, source.sha256)
    unpack(file, directory / "bundle")
    return Weights.bundle(directory / "bundle", source.name, source.sha256)
