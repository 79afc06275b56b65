"""The models in memory: opened with proof, bounded in number and bytes, drained before they go."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from aimic.errors import AimicError, CorruptError, OverloadedError
from aimic.nets import bundle
from aimic.nets.bundle import BundleInfo
from aimic.ports.predictor import LoadedModel, Predictor
from services.inference import garbage
from services.inference.batching import Batcher
from services.inference.catalogue import Catalogue, Model
from services.inference.seen import in_memory

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

_MIB = 2**20
_MOMENT_S = 0.01


class NoRoomError(OverloadedError):
    """There is no memory for one more model, and those that are there must stay."""


class Memory:
    """At most `limit` models in `limit_bytes`. Those that serve stay; of the others the least recently used makes room.

    More may serve than `limit`, but not in more than `limit_bytes`: beyond those this process would be killed, and
    everything with it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        predictor: Predictor,
        batcher: Callable[[LoadedModel], Batcher],
        limit: int,
        limit_bytes: int,
    ) -> None:
        self._catalogue = catalogue
        self._predictor = predictor
        self._batcher = batcher
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._models: dict[str, Model] = {}
        self._switches = 0
        # One load or unload at a time: a load needs memory twice over, and room that was made is for one.
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "loading")

    def holds(self, bundle_hash: str) -> bool:
        """Whether the bundle's model is in memory."""
        return bundle_hash in self._models

    def take(self, bundle_hash: str) -> Model | None:
        """The bundle's model if it is in memory; one that was about to leave stays."""
        model = self._models.get(bundle_hash)
        if model is not None:
            model.leaving = False
        return model

    async def open(self, bundle_hash: str, directory: Path, executor: str | None = None) -> Model:
        """The bundle's model, ready to answer, run with `executor` (see Predictor.load).

        CorruptError when the bundle is not what it says it is, NoRoomError when too much else must stay in memory.
        """
        async with self._turn:
            known = self.take(bundle_hash)
            if known is not None:
                return known
            await self._make_room(bundle_hash, await self._in_thread(_weights_bytes, directory))
            info, loaded = await self._load(directory, bundle_hash, executor, bundle_hash)
            return self._put(info, loaded)

    async def switch(self, bundle_hash: str, directory: Path, executor: str) -> None:
        """Run a model that is in memory with this executor, without a gap: both are there until the last request that
        the model has now is answered.

        Errors as of `open`, without any change then. One that gives way to the executor that runs changes nothing.
        """
        async with self._turn:
            before = self._models.get(bundle_hash)
            if before is None or before.loaded.executor == executor:
                return
            await self._make_room_twice(bundle_hash, before.loaded.memory_bytes)
            self._switches += 1
            name = f"{bundle_hash}_{self._switches}"
            info, loaded = await self._load(directory, bundle_hash, executor, name)
            if before.leaving or loaded.executor == before.loaded.executor:
                await self._in_thread(self._predictor.unload, name)
                return
            model = self._put(info, loaded)
            for served in self._catalogue.holders(bundle_hash):
                served.took_over(before, model)
            logger.info("a model runs with another executor", extra={"bundle": bundle_hash, "executor": executor})
            await self._drained(before)

    async def release(self, bundle_hash: str) -> None:
        """Unload once the last request is answered, unless somebody wants it again by then."""
        model = self._models.get(bundle_hash)
        if model is None:
            return
        model.leaving = True
        while model.in_use and model.leaving:
            model.idle.clear()
            await model.idle.wait()
        async with self._turn:
            # Not if it was opened again meanwhile, or is gone already.
            if model.leaving and self._models.get(bundle_hash) is model:
                await self._unload(bundle_hash)

    async def trim(self) -> None:
        """Go back under the limits, which a version that must serve may have passed."""
        async with self._turn:
            while self._over() and (leaver := self._least_used()) is not None:
                await self._unload(leaver)

    async def close(self) -> None:
        """Close every queue and free every model."""
        for model in tuple(self._models.values()):
            await model.batcher.close()
        self._models.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _make_room(self, newcomer: str, needed: int) -> None:
        """NoRoomError, before anybody went in vain, when what must stay leaves no room."""
        serves = self._catalogue.pinned(newcomer)
        staying = [model for bundle_hash, model in self._models.items() if self._catalogue.pinned(bundle_hash)]
        # One more may serve where only the number is passed, or where it is alone: it is then all that there is.
        if not (serves and not staying) and _bytes(staying) + needed > self._limit_bytes:
            raise self._no_room(staying, needed)
        if not serves and len(staying) >= self._limit:
            raise self._no_room(staying, needed)
        while self._over(1, needed):
            leaver = self._least_used()
            if leaver is not None:
                await self._unload(leaver)
            elif all(self._catalogue.pinned(bundle_hash) for bundle_hash in self._models):
                logger.warning("what serves is over the limits on memory for models", extra={"bundle": newcomer})
                return
            else:
                await asyncio.sleep(_MOMENT_S)  # until those who waited for it have used it

    async def _make_room_twice(self, bundle_hash: str, needed: int) -> None:
        """As _make_room, for one that is in memory already and stays."""
        while _bytes(self._models.values()) + needed > self._limit_bytes:
            held = self._models.items()
            staying = [model for each, model in held if each == bundle_hash or self._catalogue.pinned(each)]
            if _bytes(staying) + needed > self._limit_bytes:
                raise self._no_room(staying, needed)
            leaver = self._least_used(besides=bundle_hash)
            if leaver is not None:
                await self._unload(leaver)
            else:
                await asyncio.sleep(_MOMENT_S)

    def _no_room(self, staying: list[Model], needed: int) -> NoRoomError:
        return NoRoomError(
            f"It needs {needed // _MIB + 1} MiB of memory. The {len(staying)} models that must stay hold "
            f"{_bytes(staying) // _MIB} of the {self._limit_bytes // _MIB} MiB for models (at most {self._limit}). "
            "What served goes on, and it is tried again by itself: retire what is no longer used, or let the "
            "administrator raise AIMIC_INFERENCE_MODELS and AIMIC_INFERENCE_MODELS_BYTES.",
            retry_after_s=5,
        )

    def _over(self, models: int = 0, needed: int = 0) -> bool:
        held = self._models.values()
        return len(held) + models > self._limit or _bytes(held) + needed > self._limit_bytes

    def _least_used(self, besides: str = "") -> str | None:
        """Who goes next, not `besides`, rather an idle one; None when all must stay, for now or while they serve."""
        free = [
            (model.in_use > 0, model.used_at, bundle_hash)
            for bundle_hash, model in self._models.items()
            if bundle_hash != besides
            and not self._catalogue.pinned(bundle_hash)
            and not self._catalogue.awaited(bundle_hash)
        ]
        return min(free)[2] if free else None

    async def _unload(self, bundle_hash: str) -> None:
        """Nobody finds it any more; it goes when its last request is answered."""
        model = self._models.pop(bundle_hash)
        model.leaving = True
        for served in self._catalogue.holders(bundle_hash):
            served.unloaded()
        logger.info("model goes", extra={"bundle": bundle_hash})
        in_memory(model.loaded for model in self._models.values())
        await self._drained(model)

    async def _drained(self, model: Model) -> None:
        while model.in_use:
            model.idle.clear()
            await model.idle.wait()
        await model.batcher.close()
        await self._in_thread(self._predictor.unload, model.loaded.name)
        await self._in_thread(garbage.look_again)

    def _put(self, info: BundleInfo, loaded: LoadedModel) -> Model:
        model = Model(info, loaded, self._batcher(loaded))
        self._models[loaded.bundle_hash] = model
        in_memory(model.loaded for model in self._models.values())
        return model

    async def _load(
        self, directory: Path, bundle_hash: str, executor: str | None, name: str
    ) -> tuple[BundleInfo, LoadedModel]:
        try:
            return await self._in_thread(self._read, directory, bundle_hash, executor, name)
        except Exception:
            with contextlib.suppress(AimicError):  # the first error is the one to tell
                await self._in_thread(self._predictor.unload, name)  # it may have been loaded half
            raise

    def _read(
        self, directory: Path, bundle_hash: str, executor: str | None, name: str
    ) -> tuple[BundleInfo, LoadedModel]:
        info = bundle.verify(directory, bundle_hash)
        loaded = self._predictor.load(directory, executor, name)
        said = (loaded.bundle_hash, loaded.classes, loaded.image_size)
        if said != (bundle_hash, info.classes, info.preprocessing.image_size):
            raise CorruptError("What was loaded is not what the bundle describes; it is not used.")
        garbage.set_aside()
        return info, loaded

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _bytes(models: Iterable[Model]) -> int:
    return sum(model.loaded.memory_bytes for model in models)


def _weights_bytes(directory: Path) -> int:
    """What a bundle's model will take, about: nearly all of its files is tensors, which are held as they are stored."""
    return sum(file.stat().st_size for file in (directory / "weights").glob("*.safetensors"))
