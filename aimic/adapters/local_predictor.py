"""The predictor of the embedded mode: in this process, on the GPU when there is one."""

from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from aimic.errors import NotFoundError
from aimic.nets.runner import Runner, best_device, load, use_threads
from aimic.ports.predictor import LONGEST_S, LoadedModel
from aimic.settings import available_cpus


class LocalPredictor:
    """Keeps aimic.ports.predictor.Predictor's promise with the executors of aimic.nets.

    All models share the machine, so images of several callers take turns; a model that is being loaded takes
    its turns between them.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or available_cpus()
        self._runners: dict[str, Runner] = {}
        self._turn = Lock()

    def load(self, bundle: Path, executor: str | None = None, name: str = "") -> LoadedModel:
        """See the port. The check logits may differ by 1e-3 of the largest logit (another CPU rounds anew)."""
        use_threads(self._threads)
        runner = load(bundle, best_device(), self._turn, executor)
        self._runners[name or runner.hash] = runner
        return _loaded(name or runner.hash, runner)

    def predict(self, name: str, pixels: NDArray[np.uint8], timeout_s: float = LONGEST_S) -> NDArray[np.float32]:
        """See the port."""
        runner = self._runners.get(name)
        if runner is None:
            raise NotFoundError("This model is not loaded here.", name=name)
        return runner.logits(pixels, timeout_s)

    def unload(self, name: str) -> None:
        """See the port. Answers under way are still given."""
        self._runners.pop(name, None)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """See the port."""
        return tuple(_loaded(name, runner) for name, runner in tuple(self._runners.items()))

    def close(self) -> None:
        """See the port."""
        self._runners.clear()


def _loaded(name: str, runner: Runner) -> LoadedModel:
    return LoadedModel(
        bundle_hash=runner.hash,
        name=name,
        executor=runner.executor,
        classes=runner.info.classes,
        image_size=runner.info.preprocessing.image_size,
        memory_bytes=runner.memory_bytes,
    )
