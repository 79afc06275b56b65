"""One optimiser step, and logits without one."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from aimic.domain.job import TrainSettings
from aimic.domain.networks import NETWORKS
from aimic.errors import InvalidInputError
from aimic.nets import forward
from aimic.nets.net import Net
from aimic.nets.normalise import normalise
from services.trainer.draws import draw
from services.trainer.machine import Machine
from services.trainer.schedule import Rates, rates

AUX_LOSS = 0.3
"""Weight of an auxiliary head's loss (Szegedy et al. 2015, section 5)."""


class DivergedError(InvalidInputError):
    """The network gives no numbers any more."""

    code = "diverged"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The training went astray: {what}. The data set and all finished tasks are kept. "
            "Start the job again with a smaller learning rate (a tenth), or a larger batch."
        )


class LonelyError(InvalidInputError):
    """Batch normalisation has nothing to take the mean and spread of."""

    code = "one_image"

    def __init__(self, network: str) -> None:
        super().__init__(
            f"{NETWORKS[network].title} compares the images of a batch with each other at this image size, and can't "
            "learn from a single one. The data set and all finished tasks are kept. Start the job again with a batch "
            "size of at least 2 and a split that leaves at least 2 images to train on, or with larger images."
        )


def make_optimizer(net: Net, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD (momentum 0.9) over what the mode trains."""
    parameters = list(net.trainable())
    lr, decay = settings.lr or 1e-3, settings.weight_decay or 0.0
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=decay, fused=True)
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=lr, weight_decay=decay, fused=True)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)


def _apply(optimizer: torch.optim.Optimizer, now: Rates) -> None:
    for group in optimizer.param_groups:
        group["lr"] = now.lr
        if now.momentum is not None:
            if "betas" in group:
                group["betas"] = (now.momentum, group["betas"][1])
            else:
                group["momentum"] = now.momentum


class Stepper:
    """Takes steps on a network; the n-th step is the same whether or not the ones before ran in this process."""

    def __init__(self, net: Net, settings: TrainSettings, machine: Machine, steps: int) -> None:
        self.net = net
        self.optimizer = make_optimizer(net, settings)
        self._settings = settings
        self._machine = machine
        self._steps = steps
        self.lr = 0.0
        """Learning rate of the newest step."""

    def step(self, number: int, pixels: NDArray[np.uint8], targets: NDArray[np.int64]) -> tuple[float, int]:
        """Step `number` (from 0) on images [n, S, S, 3] and classes [n]; returns mean loss and hits."""
        settings = self._settings
        now = rates(settings.schedule or "constant", number, self._steps, settings.lr or 1e-3)
        self.lr = now.lr
        _apply(self.optimizer, now)
        # Dropout draws from torch's generator; seeding it per step makes its masks a function of the step.
        torch.manual_seed(draw(settings.seed, number, "", "dropout"))
        loss, hits = self._forward(pixels, targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(f"the loss stopped being a number at step {number + 1}")
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return value, hits

    def _forward(self, pixels: NDArray[np.uint8], targets: NDArray[np.int64]) -> tuple[torch.Tensor, int]:
        device = self._machine.device
        smoothing = self._settings.label_smoothing or 0.0
        wanted = torch.from_numpy(targets).to(device)
        x = normalise(torch.from_numpy(pixels).to(device), self.net.preprocessing)
        with torch.autocast(device, torch.bfloat16, enabled=self._machine.precision == "bfloat16"):
            logits, aux = self._answers(x)
        loss = cross_entropy(logits.float(), wanted, label_smoothing=smoothing)
        for more in aux:
            loss = loss + AUX_LOSS * cross_entropy(more.float(), wanted, label_smoothing=smoothing)
        return loss, int((logits.detach().argmax(1) == wanted).sum())

    def _answers(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        try:
            return self.net.forward_train(x)
        except ValueError as error:
            # Whether one image is too few depends on the network and the image size; torch knows.
            if len(x) == 1 and "more than 1 value per channel" in str(error):
                raise LonelyError(self.net.network) from error
            raise


def logits_of(
    net: Net, device: str, pixels: NDArray[np.uint8], indices: Sequence[int], alive: Callable[[], None] = lambda: None
) -> NDArray[np.float32]:
    """Logits [n, classes] of the samples `indices`, in float32, by the same function as serving; `alive()` after each
    few of them.

    DivergedError when one is no number.
    """
    net.train(False)
    parts: list[NDArray[np.float32]] = []
    for start in range(0, len(indices), forward.MICRO_BATCH):
        few = list(indices[start : start + forward.MICRO_BATCH])
        parts.append(forward.logits_of([net], pixels[few], device))
        alive()
    logits = np.concatenate(parts) if parts else np.zeros((0, net.classes), dtype=np.float32)
    if not np.isfinite(logits).all():
        raise DivergedError("the network answers some images with no number")
    return logits
