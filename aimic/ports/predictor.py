"""The promise of something that runs a network."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aimic.domain.base import Value

LONGEST_S = 300.0
"""How long a batch may take when nobody says less."""


class LoadedModel(Value):
    """A model in memory, ready to answer."""

    bundle_hash: str
    name: str = ""
    """What it is asked by; its bundle's hash, unless `load` was told another."""
    executor: str
    """How it runs, such as `torch-eager-fp32-cpu`; named in every answer."""
    classes: tuple[str, ...]
    image_size: int
    memory_bytes: int = 0
    """What it takes of the machine's memory, about: its weights, as they are held."""


class Predictor(Protocol):
    """Runs bundles by hash. Thread-safe. It neither decodes, queues, nor calibrates: the data plane does."""

    def load(self, bundle: Path, executor: str | None = None, name: str = "") -> LoadedModel:
        """Verify the bundle directory (hash, classes, preprocessing, check logits), load and warm it.

        `executor` names one of aimic/nets/executors/kinds.py, by default eager torch, which also takes the place of one
        that can't be had here. `name` is what the model is asked by, by default its hash: so a bundle may be there
        twice, with two executors. CorruptError when anything does not match. Loading a loaded bundle again is harmless.
        """

    def predict(self, name: str, pixels: NDArray[np.uint8], timeout_s: float = LONGEST_S) -> NDArray[np.float32]:
        """Logits [n, classes] for uint8 RGB pixels [n, height, width, 3] of the model's image size.

        An image's logits don't depend on the batch (to 1e-5 in probability). NotFoundError if not loaded,
        InvalidInputError for other pixels. It waits for its turn and for an answer for `timeout_s` at most: then
        DeadlineError. UnavailableError when what runs the network is away or died of it. A network that computes in
        this process can't be ended from outside: who calls must be able to leave a call whose network hangs to itself.
        """

    def unload(self, name: str) -> None:
        """Free the model; unloading what isn't loaded is harmless."""

    def loaded(self) -> tuple[LoadedModel, ...]:
        """What is in memory."""

    def close(self) -> None:
        """Free everything."""
