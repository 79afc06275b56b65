"""Versions become models in memory: fetched, verified, loaded and warmed before they take a request."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from functools import partial

from aimic import faults
from aimic.domain.model import ServingEntry
from aimic.errors import (
    AimicError,
    CorruptError,
    InvalidInputError,
    NotFoundError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
)
from services.inference.bundles import BundleStore
from services.inference.catalogue import LATER_S, SOON_S, Catalogue, Model, Served
from services.inference.deadline import Deadline
from services.inference.memory import Memory, NoRoomError
from services.inference.metrics import REJECTED
from services.inference.switching import Switching

logger = logging.getLogger(__name__)

_FINAL = (CorruptError, InvalidInputError, NotFoundError, TooLargeError)
"""Trying again at once would give the same: the version is refused, with the reason."""
_MOST_WAITING = 256
"""Requests that may wait for one version to be loaded; all of them come in when it is."""


class Loader:
    """Loads each bundle once, however many ask for it."""

    def __init__(self, catalogue: Catalogue, store: BundleStore, memory: Memory, switching: Switching) -> None:
        self._catalogue = catalogue
        self._store = store
        self._memory = memory
        self._switching = switching
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()

    async def ensure(self, site: str, name: str, version: int | None, deadline: Deadline) -> tuple[Served, Model]:
        """The version and its model in memory, loading it now if need be.

        NotFoundError for an unknown version; UnavailableError for one that is refused or can't be fetched;
        OverloadedError when too many wait for it already.
        The caller takes `model.use()` before it awaits anything else.
        """
        while True:
            served = self._catalogue.resolve(site, name, version)
            if served.model is not None and not served.model.leaving:
                return served, served.model
            if served.retry_at > time.monotonic():
                raise _cannot(served)
            if served.waiting >= _MOST_WAITING:
                raise _too_many(served)
            served.waiting += 1  # so that its model doesn't make room for another before this request had it
            try:
                async with deadline.during("the model was loaded"):
                    # Shielded: whoever asks next profits, even if this caller leaves.
                    await asyncio.shield(self.start(served))
            finally:
                served.waiting -= 1

    def start(self, served: Served) -> asyncio.Task[None]:
        """Begin to load, or join the load that goes on. The task doesn't fail: see the version's state."""
        bundle_hash = served.entry.bundle_hash
        task = self._loading.get(bundle_hash)
        if task is None:
            task = asyncio.create_task(self._load(served.entry), name=f"load {bundle_hash[:12]}")
            self._loading[bundle_hash] = task
        return task

    def release(self, gone: list[Served]) -> None:
        """Versions that are wanted no longer: their models go when their last request is answered."""
        for bundle_hash in {served.entry.bundle_hash for served in gone}:
            self._release_unless_held(bundle_hash)

    def tidy(self) -> None:
        """Bundles that no version stands for go from the disk: of versions that were retired while we were away."""
        for bundle_hash in self._store.hashes():
            if not self._memory.holds(bundle_hash):
                self._release_unless_held(bundle_hash)
        self._switching.step()

    async def close(self) -> None:
        """Stop what goes on."""
        tasks = [*self._loading.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, entry: ServingEntry) -> None:
        bundle_hash = entry.bundle_hash
        try:
            await self._try(entry)
        finally:
            del self._loading[bundle_hash]  # in one breath with the outcome: who asks now begins anew
        self._release_unless_held(bundle_hash)  # it may have been retired meanwhile
        self._later(self._memory.trim(), "trim")

    async def _try(self, entry: ServingEntry) -> None:
        bundle_hash = entry.bundle_hash
        started = time.monotonic()
        try:
            # In memory already: another version stands for the same bundle, or it was about to leave.
            model = self._memory.take(bundle_hash) or await self._open(entry)
        except Exception as error:
            await self._failed(entry, error)
        else:
            faults.point("inference.loaded")
            for served in self._catalogue.holders(bundle_hash):
                served.ready(model)
            self._catalogue.refresh()
            seconds = round(time.monotonic() - started, 3)
            logger.info("model ready", extra={"bundle": bundle_hash, "seconds": seconds})

    async def _open(self, entry: ServingEntry) -> Model:
        cached = self._store.has(entry.bundle_hash)
        directory = await self._store.fetch(entry, self._needed)
        faults.point("inference.loading")
        with_what = await self._switching.first(entry, directory, partial(self._catalogue.hurry, entry.bundle_hash))
        try:
            model = await self._memory.open(entry.bundle_hash, directory, with_what.executor)
        except (CorruptError, InvalidInputError, NotFoundError):
            if not cached:
                raise
            model = await self._open_anew(entry, with_what.executor)
        if not with_what.settled:
            self._switching.follow(entry, directory, model)
        return model

    async def _open_anew(self, entry: ServingEntry, executor: str | None) -> Model:
        # Our own copy went bad on the disk: the registry's may be whole.
        logger.warning("the copy on disk is damaged; it is fetched again", extra={"bundle": entry.bundle_hash})
        await self._store.discard(entry.bundle_hash)
        return await self._memory.open(entry.bundle_hash, await self._store.fetch(entry, self._needed), executor)

    def _needed(self, bundle_hash: str) -> bool:
        """Whether a bundle must stay on the disk, however full that is."""
        in_use = self._memory.holds(bundle_hash) or bundle_hash in self._loading
        return in_use or self._catalogue.pinned(bundle_hash)

    async def _failed(self, entry: ServingEntry, error: Exception) -> None:
        """Say it in words, and when it is worth trying again."""
        bundle_hash = entry.bundle_hash
        reason = (
            error.message if isinstance(error, AimicError) else "It could not be loaded; this service's log says why."
        )
        unforeseen = None if isinstance(error, AimicError) else error
        logger.warning("bundle not loaded", extra={"bundle": bundle_hash, "reason": reason}, exc_info=unforeseen)
        final = isinstance(error, _FINAL)
        if final:
            with contextlib.suppress(OSError):  # a damaged one that can't be removed is found out again
                await self._store.discard(bundle_hash)
        # What serves and has no room is refused: else we were never ready, for those that have.
        refused = final or (isinstance(error, NoRoomError) and self._catalogue.pinned(bundle_hash))
        for served in self._catalogue.holders(bundle_hash):
            if isinstance(error, NotFoundError) and served.entry.bundle_url != entry.bundle_url:
                continue  # the same bundle as another version, which was not asked for
            served.failed(reason, refused=refused, longest_s=LATER_S if final else SOON_S)
        self._catalogue.refresh()

    def _release_unless_held(self, bundle_hash: str) -> None:
        if not self._catalogue.holders(bundle_hash) and bundle_hash not in self._loading:
            self._later(self._release(bundle_hash), f"release {bundle_hash[:12]}")

    async def _release(self, bundle_hash: str) -> None:
        await self._memory.release(bundle_hash)
        held = self._catalogue.holders(bundle_hash) or self._memory.holds(bundle_hash)
        if not held and bundle_hash not in self._loading:
            self._switching.forget(bundle_hash)
            await self._store.discard(bundle_hash)

    def _later(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _cannot(served: Served) -> UnavailableError:
    entry = served.entry
    wait = max(1.0, served.retry_at - time.monotonic())
    words = "is refused" if served.state == "refused" else "is not ready"
    return UnavailableError(f"Version {entry.version} of {entry.name} {words}: {served.reason}", retry_after_s=wait)


def _too_many(served: Served) -> OverloadedError:
    REJECTED.labels("overloaded").inc()
    return OverloadedError(
        f"{served.waiting} requests wait for version {served.entry.version} of {served.entry.name} to be loaded, so "
        "yours was not taken. Ask again in a few seconds.",
        retry_after_s=5,
    )
