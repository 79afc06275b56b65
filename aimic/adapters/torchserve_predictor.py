"""The predictor of the cluster: TorchServe as our child, a process of its own for each model."""

import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from aimic.adapters.torchserve.archive import PROMISED
from aimic.adapters.torchserve.front import problem
from aimic.adapters.torchserve.ground import LARGEST_BODY, Settings
from aimic.adapters.torchserve.keeper import Keeper, Kept
from aimic.errors import ConflictError, DeadlineError, InvalidInputError, NotFoundError, UnavailableError
from aimic.nets.bundle import inspect
from aimic.ports.predictor import LONGEST_S, LoadedModel
from aimic.settings import available_cpus

_METRICS_S = 2.0


class TorchServePredictor:
    """Keeps aimic.ports.predictor.Predictor's promise with TorchServe behind it.

    A whole batch is one request, and every request ends by its deadline. A worker that dies is started again by
    TorchServe, TorchServe by us, with its models; a model whose workers keep dying is fenced for a while. So is one
    whose worker came back with another executor than its answers name: it refuses the images.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        """Begin to start TorchServe; `load` waits for it. SystemExit where it can't be started, in words."""
        self._keeper = Keeper(settings or Settings(threads=available_cpus()))

    @classmethod
    def of(cls, url: str, wishes: Mapping[str, float]) -> "TorchServePredictor":
        """`torchserve://` works in the machine's directory for temporary files, `torchserve:///path` in that one.

        `wishes` are fields of Settings.
        """
        path = urlsplit(url).path
        directory = Path(path) if path.strip("/") else None
        chosen: dict[str, object] = {"threads": available_cpus(), "directory": directory, **wishes}
        return cls(Settings.model_validate(chosen))

    def load(self, bundle: Path, executor: str | None = None, name: str = "") -> LoadedModel:
        """See the port; UnavailableError when TorchServe or the model's worker does not start.

        `executor` as in aimic.nets.runner.load.
        """
        bundle_hash = inspect(bundle).hash
        return self._keeper.load(bundle, bundle_hash, executor, name or bundle_hash)

    def predict(self, name: str, pixels: NDArray[np.uint8], timeout_s: float = LONGEST_S) -> NDArray[np.float32]:
        """See the port. Models compute beside each other; the images of one model take turns."""
        kept = self._keeper.models.get(name)
        if kept is None:
            raise NotFoundError("This model is not loaded here.", name=name)
        side = kept.loaded.image_size
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3):
            raise InvalidInputError(
                f"This model reads uint8 pixels of {side} × {side} × 3, not {pixels.dtype} {pixels.shape[1:]}."
            )
        ends = time.monotonic() + timeout_s
        step = max(1, LARGEST_BODY // (side * side * 3))
        parts = [self._logits(kept, pixels[start : start + step], ends) for start in range(0, len(pixels), step)]
        return np.concatenate(parts) if parts else np.empty((0, len(kept.loaded.classes)), np.float32)

    def unload(self, name: str) -> None:
        """See the port."""
        self._keeper.unload(name)

    def loaded(self) -> tuple[LoadedModel, ...]:
        """See the port; a fenced model is loaded, too."""
        return tuple(kept.loaded for kept in tuple(self._keeper.models.values()))

    def close(self) -> None:
        """See the port. TorchServe ends, with all that it started and stored."""
        self._keeper.close()

    def troubles(self) -> dict[str, str]:
        """Name of each model that can't be asked now, with the reason in words."""
        keeper = self._keeper
        away = "" if keeper.front is not None else keeper.away
        found = {kept.name: away or kept.away for kept in tuple(keeper.models.values())}
        return {name: words for name, words in found.items() if words}

    def metrics(self) -> str:
        """What TorchServe counts and measures, in Prometheus' text form; empty while it is away."""
        front = self._keeper.front
        try:
            return "" if front is None else front.calls.metrics(_METRICS_S)
        except (UnavailableError, DeadlineError):
            return ""

    def _logits(self, kept: Kept, pixels: NDArray[np.uint8], ends: float) -> NDArray[np.float32]:
        """Of one request."""
        front, away = self._keeper.front, kept.away
        if front is None:
            raise UnavailableError(f"{self._keeper.away}.", retry_after_s=5)
        if away or self._keeper.models.get(kept.name) is not kept:
            raise UnavailableError(away or "This model was just unloaded; ask again.", retry_after_s=5)
        asked_at = time.monotonic()
        if (left := ends - asked_at) <= 0:
            raise DeadlineError("There was no time left for the network. Ask again, with a later deadline.")
        try:
            answer = front.calls.infer(kept.name, pixels.tobytes(), left, {PROMISED: kept.loaded.executor})
        except (UnavailableError, DeadlineError):
            self._keeper.suspect()
            raise
        if answer.status != 200:
            if answer.status == ConflictError.status:
                kept.refused_at = asked_at
            self._keeper.suspect()
            raise problem(answer)
        logits = np.frombuffer(answer.body, "<f4").astype(np.float32)
        if logits.size != len(pixels) * len(kept.loaded.classes):
            raise UnavailableError("TorchServe answered with something else than logits. Ask again.")
        return logits.reshape(len(pixels), len(kept.loaded.classes))
