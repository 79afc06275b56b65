"""A trained network becomes a bundle."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import safetensors
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from aimic.domain.base import Value
from aimic.domain.executor import Judgement
from aimic.nets.architectures import architecture
from aimic.nets.bundle import BundleInfo, Head, Member, Temperature, describe, verify, write
from aimic.nets.executors.libraries import versions
from aimic.nets.forward import logits_of
from aimic.nets.net import Net
from aimic.nets.zoo import restore

CHECKS = 32
CHECK_SEED = 20221107
"""Any constant; the same for all bundles, so that the inputs depend on the image size alone."""


class Training(Value):
    """What a bundle says of its training, beside what the network itself knows."""

    classes: tuple[str, ...]
    manifest_hash: str
    membership: tuple[Member, ...]
    split: dict[str, Any]
    settings: dict[str, Any]
    metrics: dict[str, Any]
    class_mix: tuple[int, ...]
    """Training images per class."""
    temperature: Temperature = Temperature(note="not fitted")
    thresholds: dict[str, float] | None = None
    ood: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


def package(directory: Path, net: Net, training: Training, states: Sequence[Mapping[str, Tensor]] = ()) -> str:
    """Write the bundle of `net` into a new or empty directory; its hash.

    `states`: weight sets as `Net.state()` gives them, several for an ensemble; default the network's own.
    The check logits come from the network as serving restores it, in float32 on the CPU.
    """
    weights = [dict(state) for state in states] or [net.state()]
    info = _info(net, training, len(weights))
    inputs = check_inputs(net.preprocessing.image_size)
    logits = logits_of([restore(info, state) for state in weights], inputs)
    arrays = [{name: tensor.contiguous().numpy() for name, tensor in state.items()} for state in weights]
    return write(directory, info, arrays, inputs, logits)


def admit(directory: Path, judgements: Sequence[Judgement]) -> str:
    """Add to a bundle that `package` has just made how executors answered with its weights; its new hash."""
    info = verify(directory)
    # Of what judged: with other versions the same weights may be judged otherwise.
    changes = {"executors": tuple(judgements), "libraries": {**versions(), **info.libraries}}
    return describe(directory, info.model_copy(update=changes))


def check_inputs(image_size: int) -> NDArray[np.uint8]:
    """32 made-up pictures [32, S, S, 3]: random colours on grids from 2 × 2 up, never a patient's pixels."""
    generator = np.random.Generator(np.random.PCG64(CHECK_SEED))
    pictures = []
    for number in range(CHECKS):
        cells = min(2 ** (1 + number % 7), image_size)
        colours = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        place = np.arange(image_size) * cells // image_size
        pictures.append(colours[place][:, place])
    return np.stack(pictures)


def _info(net: Net, training: Training, ensemble: int) -> BundleInfo:
    return BundleInfo(
        network=net.network,
        classes=training.classes,
        preprocessing=net.preprocessing,
        transform_input=net.transform_input,
        head=Head(layer=architecture(net.network).head, features=net.head.in_features),
        ensemble=ensemble,
        manifest_hash=training.manifest_hash,
        membership=training.membership,
        split=training.split,
        settings=training.settings,
        metrics=training.metrics,
        class_mix=training.class_mix,
        temperature=training.temperature,
        thresholds=training.thresholds,
        ood=training.ood,
        weights_card=net.weights_card,
        notes=(*net.notes, *training.notes),
        libraries=libraries(),
    )


def libraries() -> dict[str, str]:
    """Versions of what decides the numbers."""
    return {
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
        "safetensors": safetensors.__version__,
        "torch": str(torch.__version__),
        "torchvision": torchvision.__version__,
    }
