"""What the tests of TorchServe share: a small model, and a look at the processes."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from aimic.nets.info import Member
from aimic.nets.package import Training, package
from aimic.nets.weights import Weights
from aimic.nets.zoo import build

SIZE = 48


def bundle(directory: Path, seed: int = 1) -> str:
    """A bundle of a network whose answers differ from picture to picture; its hash."""
    classes = ("basophil", "eosinophil", "lymphocyte", "monocyte")
    net = build("mobilenet_v2", len(classes), SIZE, Weights.none(), seed=seed)
    with torch.no_grad():
        net.head.weight.mul_(300)
    training = Training(
        classes=classes,
        manifest_hash="00" * 32,
        membership=(Member(sha256="11" * 32, phash="00" * 8, fold=0),),
        split={},
        settings={},
        metrics={},
        class_mix=(1, 2, 3, 4),
    )
    return package(directory, net, training)


def until(question: Callable[[], bool], seconds: float = 150.0) -> None:
    """Ask until the answer is yes; a machine that stands still for a while is given the time."""
    end = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def family(directory: Path) -> list[psutil.Process]:
    """The guardian, the front and the workers of the TorchServe that works in that directory."""
    return [process for process in psutil.process_iter() if any(str(directory) in part for part in _command(process))]


def fronts(directory: Path) -> list[psutil.Process]:
    """TorchServe itself."""
    return [process for process in family(directory) if Path((_command(process) or [""])[0]).name == "java"]


def workers(directory: Path) -> list[psutil.Process]:
    """Its workers."""
    return [process for process in family(directory) if "--sock-name" in _command(process)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
