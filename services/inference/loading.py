"""Versions become models in memory: fetched, verified, loaded and warmed before they take a request."""

import asyncio
import logging
import time

from aimic import faults
from aimic.domain.model import ServingEntry
from aimic.errors import AimicError, CorruptError, InvalidInputError, NotFoundError, TooLargeError, UnavailableError
from services.inference.bundles import BundleStore
from services.inference.catalogue import Catalogue, Model, Served
from services.inference.deadline import Deadline
from services.inference.executors import Executors
from services.inference.memory import Memory

logger = logging.getLogger(__name__)

_FINAL = (CorruptError, InvalidInputError, NotFoundError, TooLargeError)
"""Trying again at once would give the same: the version is refused, with the reason."""


class Loader:
    """Loads each bundle once, however many ask for it."""

    def __init__(self, catalogue: Catalogue, store: BundleStore, memory: Memory, executors: Executors) -> None:
        self._catalogue = catalogue
        self._store = store
        self._memory = memory
        self._executors = executors
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def ensure(self, site: str, name: str, version: int | None, deadline: Deadline) -> tuple[Served, Model]:
        """The version and its model in memory, loading it now if need be.

        NotFoundError for an unknown version; UnavailableError for one that is refused or can't be fetched.
        The caller takes `model.use()` before it awaits anything else.
        """
        while True:
            served = self._catalogue.resolve(site, name, version)
            if served.model is not None and not served.model.leaving:
                return served, served.model
            if served.retry_at > time.monotonic():
                raise _cannot(served)
            async with deadline.during("the model was loaded"):
                # Shielded: whoever asks next profits, even if this caller leaves.
                await asyncio.shield(self.start(served))

    def start(self, served: Served) -> asyncio.Task[None]:
        """Begin to load, or join the load that goes on. The task doesn't fail: see the version's state."""
        bundle_hash = served.entry.bundle_hash
        task = self._loading.get(bundle_hash)
        if task is None:
            task = asyncio.create_task(self._load(served.entry), name=f"load {bundle_hash[:12]}")
            self._loading[bundle_hash] = task
            task.add_done_callback(lambda _: self._loading.pop(bundle_hash, None))
        return task

    def release(self, gone: list[Served]) -> None:
        """Versions that are wanted no longer: their models go when their last request is answered."""
        for bundle_hash in {served.entry.bundle_hash for served in gone}:
            self._release_unless_held(bundle_hash)

    async def close(self) -> None:
        """Stop what goes on."""
        tasks = [*self._loading.values(), *self._leaving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, entry: ServingEntry) -> None:
        bundle_hash = entry.bundle_hash
        started = time.monotonic()
        try:
            model = await self._open(entry)
        except _FINAL as error:
            logger.warning("bundle refused", extra={"bundle": bundle_hash, "reason": error.message})
            await self._store.discard(bundle_hash)
            self._failed(bundle_hash, error.message, refused=True)
        except AimicError as error:
            logger.warning("bundle not loaded", extra={"bundle": bundle_hash, "reason": error.message})
            self._failed(bundle_hash, error.message)
        except Exception:
            logger.exception("bundle not loaded", extra={"bundle": bundle_hash})
            self._failed(bundle_hash, "It could not be loaded; this service's log says why.")
        else:
            faults.point("inference.loaded")
            self._took(bundle_hash, model)
            seconds = round(time.monotonic() - started, 3)
            logger.info("model ready", extra={"bundle": bundle_hash, "seconds": seconds})

    async def _open(self, entry: ServingEntry) -> Model:
        cached = self._store.has(entry.bundle_hash)
        directory = await self._store.fetch(entry)
        faults.point("inference.loading")
        executor = await self._executors.of(entry, directory)
        try:
            return await self._memory.open(entry.bundle_hash, directory, executor)
        except (CorruptError, InvalidInputError, NotFoundError):
            if not cached:
                raise
        # Our own copy went bad on the disk: the registry's may be whole.
        logger.warning("the copy on disk is damaged; it is fetched again", extra={"bundle": entry.bundle_hash})
        await self._store.discard(entry.bundle_hash)
        return await self._memory.open(entry.bundle_hash, await self._store.fetch(entry), executor)

    def _took(self, bundle_hash: str, model: Model) -> None:
        for served in self._catalogue.holders(bundle_hash):
            served.ready(model)
        self._catalogue.refresh()
        self._release_unless_held(bundle_hash)  # it may have been retired while it was loaded

    def _failed(self, bundle_hash: str, reason: str, *, refused: bool = False) -> None:
        for served in self._catalogue.holders(bundle_hash):
            served.failed(reason, refused=refused)
        self._catalogue.refresh()

    def _release_unless_held(self, bundle_hash: str) -> None:
        if not self._catalogue.holders(bundle_hash):
            task = asyncio.create_task(self._release(bundle_hash), name=f"release {bundle_hash[:12]}")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _release(self, bundle_hash: str) -> None:
        await self._memory.release(bundle_hash)
        if not self._catalogue.holders(bundle_hash):
            await self._store.discard(bundle_hash)


def _cannot(served: Served) -> UnavailableError:
    entry = served.entry
    wait = max(1.0, served.retry_at - time.monotonic())
    words = "is refused" if served.state == "refused" else "is not ready"
    return UnavailableError(f"Version {entry.version} of {entry.name} {words}: {served.reason}", retry_after_s=wait)
