"""Versions of a model that differ in their classes and their weights, and what each must answer to each picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from aimic.nets import bundle
from aimic.nets.calibration import probabilities
from aimic.nets.info import Member, Temperature
from aimic.nets.package import Training, package
from aimic.nets.preprocessing import to_pixels
from aimic.nets.runner import load
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from tests import pods

PICTURES = 8
CLASSES = {
    1: ("round", "lobed", "granular"),
    # The same names in another order: with version 1's weights they would give a plausible answer, and a wrong one.
    2: ("granular", "round", "lobed"),
    3: ("lobed", "other", "granular", "round"),
}
_TOLERANCE = 1e-4
"""In probability. Answers may differ by 1e-5 with the batch; versions differ by far more."""


@cache
def picture(number: int) -> bytes:
    """A drawn picture, another for each number."""
    return pods.picture(number, "PNG")


@dataclass(frozen=True)
class Version:
    """One version as an exported file, and the probabilities by class that it must give for each picture."""

    file: Path
    bundle_hash: str
    answers: tuple[Mapping[str, float], ...]

    def wrong(self, number: int, bundle_hash: str, said: Mapping[str, float]) -> str | None:
        """What is wrong with an answer to picture `number` that names this version; None when nothing is."""
        expected = self.answers[number]
        if bundle_hash != self.bundle_hash:
            return f"bundle {bundle_hash[:12]} instead of {self.bundle_hash[:12]}"
        if list(said) != list(expected):
            return f"classes {list(said)} instead of {list(expected)}"
        worst = max(abs(said[label] - expected[label]) for label in expected)
        return f"probabilities are off by {worst}" if worst > _TOLERANCE else None


def make(directory: Path, number: int) -> Version:
    """Version `number`, in a new directory."""
    classes = CLASSES[number]
    net = build("shufflenet_v2_x1_0", len(classes), 64, Weights.none(), seed=number)
    with torch.no_grad():
        net.head.weight.mul_(40)  # random networks hardly tell pictures apart; this one must
    training = Training(
        classes=classes,
        manifest_hash="ab" * 32,
        membership=(Member(sha256="cd" * 32, phash="0123456789abcdef", fold=0),),
        split={},
        settings={"seed": number},
        metrics={"pooled": {"n": 9, "accuracy": 0.9}},
        class_mix=(1,) * len(classes),
        temperature=Temperature(value=2.0, fitted=True, images=60),
    )
    digest = package(directory / "made", net, training)
    file = directory / f"{number}.aimic"
    bundle.export(directory / "made", file)
    return Version(file, digest, _answers(directory / "made", classes))


def _answers(directory: Path, classes: tuple[str, ...]) -> tuple[Mapping[str, float], ...]:
    """By the network itself, without any service."""
    runner = load(directory, torch.device("cpu"), Lock())
    info = runner.info
    pixels = np.stack([to_pixels(picture(number), info.preprocessing) for number in range(PICTURES)])
    chances = [probabilities(logits, info.temperature) for logits in runner.logits(pixels)]
    return tuple(dict(zip(classes, row.tolist(), strict=True)) for row in chances)
