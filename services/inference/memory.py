"""The models in memory: opened with proof, bounded in number, drained before they go."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aimic.errors import CorruptError, OverloadedError
from aimic.nets import bundle
from aimic.nets.bundle import BundleInfo
from aimic.ports.predictor import LoadedModel, Predictor
from services.inference.batching import Batcher
from services.inference.catalogue import Catalogue, Model
from services.inference.metrics import LOADED

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class Memory:
    """At most `limit` models, those that serve pinned; of the others the least recently used makes room."""

    def __init__(
        self, catalogue: Catalogue, predictor: Predictor, batcher: Callable[[str], Batcher], limit: int
    ) -> None:
        self._catalogue = catalogue
        self._predictor = predictor
        self._batcher = batcher
        self._limit = limit
        self._models: dict[str, Model] = {}
        self._opening: set[str] = set()
        # One at a time: a load needs memory twice over, and the order of loads and unloads must hold.
        self._thread = ThreadPoolExecutor(1, "loading")

    async def open(self, bundle_hash: str, directory: Path, executor: str | None = None) -> Model:
        """The bundle's model, ready to answer, run with `executor` (see Predictor.load).

        CorruptError when the bundle is not what it says it is.
        One that was about to leave stays.
        """
        known = self._models.get(bundle_hash)
        if known is not None:
            known.leaving = False
            return known
        self._opening.add(bundle_hash)
        try:
            await self._make_room(bundle_hash)
            info, loaded = await self._in_thread(self._read, directory, bundle_hash, executor)
        finally:
            self._opening.discard(bundle_hash)
        model = Model(info, loaded, self._batcher(bundle_hash))
        self._models[bundle_hash] = model
        LOADED.set(len(self._models))
        return model

    async def release(self, bundle_hash: str) -> None:
        """Unload once the last request is answered, unless somebody wants it again by then."""
        model = self._models.get(bundle_hash)
        if model is None:
            return
        model.leaving = True
        while model.in_use and model.leaving:
            model.idle.clear()
            await model.idle.wait()
        # Not if it was opened again meanwhile, or is gone already.
        if model.leaving and self._models.get(bundle_hash) is model:
            await self._unload(bundle_hash, model)

    async def close(self) -> None:
        """Close every queue and free every model."""
        for model in self._models.values():
            await model.batcher.close()
        self._models.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _make_room(self, newcomer: str) -> None:
        while len(self._models) >= self._limit:
            idle = [
                (model.used_at, bundle_hash)
                for bundle_hash, model in self._models.items()
                if not model.in_use and not model.leaving and not self._catalogue.pinned(bundle_hash)
            ]
            if not idle and self._catalogue.pinned(newcomer):
                logger.warning("more models serve than the limit on models in memory", extra={"limit": self._limit})
                return
            if not idle:
                raise OverloadedError(
                    "As many models are in memory as this service may hold, and all of them are in use. "
                    "Ask again, or let the administrator raise AIMIC_INFERENCE_MODELS.",
                    retry_after_s=5,
                )
            leaver = min(idle)[1]
            logger.info("model makes room", extra={"bundle": leaver})
            await self._unload(leaver, self._models[leaver])

    async def _unload(self, bundle_hash: str, model: Model) -> None:
        model.leaving = True
        self._models.pop(bundle_hash, None)
        for served in self._catalogue.holders(bundle_hash):
            served.unloaded()
        LOADED.set(len(self._models))
        await model.batcher.close()
        if bundle_hash not in self._models and bundle_hash not in self._opening:
            await self._in_thread(self._predictor.unload, bundle_hash)

    def _read(self, directory: Path, bundle_hash: str, executor: str | None) -> tuple[BundleInfo, LoadedModel]:
        info = bundle.verify(directory, bundle_hash)
        loaded = self._predictor.load(directory, executor)
        said = (loaded.bundle_hash, loaded.classes, loaded.image_size)
        if said != (bundle_hash, info.classes, info.preprocessing.image_size):
            raise CorruptError("What was loaded is not what the bundle describes; it is not used.")
        return info, loaded

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
