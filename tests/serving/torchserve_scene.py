"""What the tests of TorchServe share: a small model, and a look at the processes."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from aimic.adapters.torchserve.ground import Settings
from aimic.adapters.torchserve.keeper import Keeper
from aimic.adapters.torchserve_predictor import TorchServePredictor
from aimic.errors import DeadlineError, UnavailableError
from aimic.nets.info import Member
from aimic.nets.package import Training, admit, check_inputs, package
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from tests.judged import alike

SIZE = 48
TOKEN_S = 60.0


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
    package(directory, net, training)
    return admit(directory, alike("torch-export-fp32-cpu"))


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


class Scene:
    """TorchServe with one model."""

    def __init__(self, directory: Path) -> None:
        self.hash = bundle(directory)
        self.predictor = TorchServePredictor(
            Settings(
                threads=1, token_minutes=TOKEN_S / 60, worker_s=3, manage_s=4, deaths_s=3600, recover_s=15, fenced_s=1
            )
        )
        try:
            self.predictor.load(directory)
            self.pixels = check_inputs(SIZE)[:4]
            self.expected = self.ask()
        except BaseException:
            self.predictor.close()
            raise
        self.directory = self.keeper.ground.directory
        assert self.keeper.front is not None
        self.first_token = self.keeper.front.calls.tokens.get("inference")
        self.expires = time.time() + TOKEN_S

    @property
    def keeper(self) -> Keeper:
        """What keeps TorchServe."""
        return self.predictor._keeper

    def ask(self, timeout_s: float = 20.0) -> NDArray[np.float32]:
        """Its logits of four pictures."""
        return self.predictor.predict(self.hash, self.pixels, timeout_s)

    def answers(self) -> bool:
        """Whether it gives the right answer now."""
        try:
            found = self.ask()
        except (UnavailableError, DeadlineError):
            return False
        assert np.allclose(found, self.expected, atol=1e-4)
        return True

    def worker(self) -> psutil.Process:
        """Its worker, once it runs."""
        found: list[psutil.Process] = []

        def look() -> bool:
            found[:] = self.workers()
            return bool(found)

        until(look)
        return found[0]

    def workers(self) -> list[psutil.Process]:
        """All that there are now."""
        return workers(self.directory)
