"""Every default that depends on mode and network, filled before a job is stored, so that the job says all."""

from typing import Any

from aimic.domain.job import TrainSettings
from aimic.domain.networks import NETWORKS
from aimic.errors import InvalidInputError
from aimic.settings import available_cpus

_SHARED: dict[str, Any] = {
    "optimizer": "adamw",
    "schedule": "onecycle",
    "weight_decay": 1e-4,
    "label_smoothing": 0.05,
    "batch_size": 16,
    "augment": "flips_turns",
}
_PRETRAINED: dict[str, Any] = {**_SHARED, "epochs": 5, "lr": 1e-3}
_FROM_SCRATCH: dict[str, Any] = {**_SHARED, "epochs": 30, "patience": 10, "lr": 3e-3}
_MEANINGLESS_FROZEN = (
    "epochs", "patience", "optimizer", "lr", "schedule", "weight_decay", "label_smoothing", "batch_size", "augment",
)  # fmt: skip
SMALLEST_SIDE = {"inception_v3": 75, "googlenet": 32}
"""Pixels a side below which a network's layers have nothing left to look at."""


def fill(settings: TrainSettings) -> TrainSettings:
    """The settings with every default set; InvalidInputError for options that mean nothing here."""
    found: dict[str, Any] = {"threads": settings.threads or available_cpus()}
    if settings.mode == "frozen":
        _refuse_meaningless(settings)
    else:
        _refuse_batches_of_one(settings)
        defaults = _FROM_SCRATCH if settings.weights == "none" else _PRETRAINED
        # One who sets the number of epochs means that number: no early end unless asked for.
        if settings.epochs is not None:
            defaults = {key: value for key, value in defaults.items() if key != "patience"}
        found |= {key: value for key, value in defaults.items() if getattr(settings, key) is None}
    sizes = {NETWORKS[name].image_size for name in settings.networks}
    if settings.image_size is None and len(sizes) == 1:
        found["image_size"] = sizes.pop()
    filled = settings.model_copy(update=found)
    _check_sizes(filled)
    return filled


def serve(settings: TrainSettings, folds: int) -> str:
    """Which weights the bundle holds: with several folds a refit on all data, with one the fold itself."""
    if settings.serve == "auto":
        return "refit" if folds > 1 else "fold:0"
    if settings.serve.startswith("fold:") and int(settings.serve[5:]) >= folds:
        raise InvalidInputError(
            f"There is no {settings.serve}: this split has {folds} fold{'s' * (folds > 1)}, numbered from 0."
        )
    return settings.serve


def _refuse_meaningless(settings: TrainSettings) -> None:
    if settings.protocol == "paper":
        raise InvalidInputError(
            "The published protocol chooses the best epoch on the held-out fold, and in frozen mode there are no "
            "epochs to choose from: its numbers would be called the paper's and would not be. "
            "Leave the protocol out, or choose mode full."
        )
    given = [name for name in _MEANINGLESS_FROZEN if getattr(settings, name) is not None]
    if given:
        raise InvalidInputError(
            f"In frozen mode only the last layer is fitted, to its optimum, so {', '.join(given)} "
            f"{'has' if len(given) == 1 else 'have'} no meaning there. Leave {'it' if len(given) == 1 else 'them'} "
            "out, or choose mode full."
        )


def _refuse_batches_of_one(settings: TrainSettings) -> None:
    if settings.batch_size == 1:
        raise InvalidInputError(
            "A batch of one image can't be trained on: batch normalisation compares the images of a batch, and one "
            "alone has nothing to be compared with. Choose a batch size of 2 or more."
        )


def _check_sizes(settings: TrainSettings) -> None:
    for name in settings.networks:
        least = SMALLEST_SIDE.get(name, 32)
        if settings.image_size is not None and settings.image_size < least:
            raise InvalidInputError(f"{name} needs images of at least {least} pixels a side.")
