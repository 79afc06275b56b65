"""Shared by the tests of the nets room: one torch thread, so that they don't crowd the machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from aimic.nets.info import Member
from aimic.nets.net import Net
from aimic.nets.package import Training, package
from aimic.nets.weights import Weights
from aimic.nets.zoo import build


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def training() -> Callable[[int], Training]:
    """What a bundle of n classes says of its training."""

    def make(classes: int) -> Training:
        return Training(
            classes=tuple(f"class {index}" for index in range(classes)),
            manifest_hash="ab" * 32,
            membership=(Member(sha256="cd" * 32, phash="0123456789abcdef", fold=0),),
            split={"k": 5, "seed": 0},
            settings={"mode": "full", "seed": 0, "lr": 1e-3},
            metrics={"pooled": {"n": 9, "accuracy": 0.9, "macro_f1": None}, "statement": "For new images."},
            class_mix=tuple(range(1, classes + 1)),
        )

    return make


@pytest.fixture(scope="session")
def small_net() -> Net:
    """The quickest of the ten, three classes, 32 px."""
    return build("shufflenet_v2_x1_0", 3, 32, Weights.none(), seed=1)


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory, small_net: Net, training: Callable[[int], Training]) -> Path:
    """A finished bundle; never changed by a test."""
    directory = tmp_path_factory.mktemp("bundle") / "made"
    package(directory, small_net, training(3))
    return directory
