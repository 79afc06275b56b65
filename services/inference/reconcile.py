"""Brings what is served in line with what the registry wants, for ever, and whatever happens to the registry."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing

from aimic.errors import AimicError
from aimic.events import ModelsChanged
from aimic.ports.events import Events
from services.inference.catalogue import Catalogue
from services.inference.loading import Loader
from services.inference.metrics import REGISTRY_FAILURES, UP
from services.inference.registry import Registry
from services.inference.snapshot import Snapshot, Wanted

logger = logging.getLogger(__name__)

_FRESH_S = 1.0


class Reconciler:
    """Asks the registry every `poll_s`, sooner when woken, less often while it is away."""

    def __init__(
        self,
        registry: Registry,
        snapshot: Snapshot,
        catalogue: Catalogue,
        loader: Loader,
        poll_s: float,
        longest_poll_s: float,
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._catalogue = catalogue
        self._loader = loader
        self._poll_s = poll_s
        self._longest_poll_s = longest_poll_s
        self._trouble = trouble
        self._failures = 0
        self._woken = asyncio.Event()
        self._read_at = float("-inf")
        self._asked = False
        self._stepped = asyncio.Event()
        self._begun = self._done = 0
        """Steps; they follow one another."""
        self._settled = False

    def restore(self) -> None:
        """Take up the list of the last run: what is on disk is served before the registry is asked."""
        last = self._snapshot.read()
        if last is not None:
            self._catalogue.apply(last.items, last.answering)
            self._load_what_serves()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._woken.clear()  # before the step: who wakes us during it knows of something newer
            try:
                await self.step()
            except Exception:
                logger.exception("a round of reconciliation failed; the next one follows")
            pause = min(self._longest_poll_s, self._poll_s * 2 ** min(self._failures, 10))
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def step(self) -> None:
        """Ask once and act on the answer; without one, go on with what is known."""
        self._begun += 1
        try:
            wanted = await self._registry.wanted()
        except AimicError as error:
            self._away(error)
        else:
            self._here()
            self._loader.release(self._catalogue.apply(wanted))
            await asyncio.to_thread(self._snapshot.store, Wanted(items=wanted, answering=self._catalogue.answering()))
            self._loader.tidy()
        finally:
            self._asked = True
            self._done = self._begun
            self._stepped.set()
            self._load_what_serves()

    async def look_again(self) -> None:
        """Somebody asked for what we don't know, which may be new: wait for a list that is asked for from now on, since
        one that is on its way may be older.

        It is asked for once a second at most, and not while the registry is away.
        """
        if self._failures:
            return
        fresh = self._begun + 1
        await asyncio.sleep(self._read_at + _FRESH_S - time.monotonic())
        while self._done < fresh:
            self._stepped.clear()
            if self._begun < fresh:
                self.wake()
            await self._stepped.wait()

    def wake(self) -> None:
        """What should be served has changed; ask now. From the event loop's thread."""
        self._woken.set()

    def not_ready(self) -> str | None:
        """Why this process should get no requests yet; None when it should.

        Ready once every version that served when we started is loaded or refused. What is promoted later
        doesn't make us unready: the version before answers until the new one is proved. Models that no longer
        answer do (see Prober.trouble).
        """
        if not self._settled:
            waiting = self._catalogue.unsettled(alone=self._failures > 0)
            if waiting:
                entry = waiting[0].entry
                return f"loading {entry.name} version {entry.version}: {waiting[0].reason}"
            if not self._asked:
                return "the list of models was not read yet"
            self._settled = True
        return self._trouble()

    def _load_what_serves(self) -> None:
        now = time.monotonic()
        # Those that should answer before those that do so in their place: after a restart nobody shall meet a version
        # that was followed by another already.
        for served in sorted(self._catalogue, key=lambda served: not served.serving):
            wanted = self._catalogue.pinned(served.entry.bundle_hash)
            if wanted and served.model is None and served.retry_at <= now:
                self._loader.start(served)

    def _away(self, error: AimicError) -> None:
        REGISTRY_FAILURES.inc()
        UP.labels("ingest").set(0)
        if self._failures == 0:
            logger.warning("the registry is away; serving goes on", extra={"cause": error.message})
        self._failures += 1

    def _here(self) -> None:
        UP.labels("ingest").set(1)
        self._read_at = time.monotonic()
        if self._failures:
            logger.info("the registry answers again")
            for served in self._catalogue:
                served.try_soon()
        self._failures = 0


class Listener:
    """A thread that hears ModelsChanged and wakes the reconciler. Without it, polling does the same later."""

    def __init__(self, connect: Callable[[], Events], group: str, wake: Callable[[], object]) -> None:
        self._connect = connect
        self._group = group
        self._wake = wake
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="models changed", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, within about a second."""
        self._stop.set()
        self._thread.join(3)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except Exception as error:  # whatever is wrong with the events, polling does their work
                UP.labels("events").set(0)
                logger.warning("events are away; polling goes on", extra={"cause": repr(error)})
                self._stop.wait(10)

    def _listen(self) -> None:
        with (
            closing(self._connect()) as events,
            closing(events.subscribe((ModelsChanged.topic,), self._group)) as subscription,
        ):
            while not self._stop.is_set():
                heard = subscription.poll(0.5)
                UP.labels("events").set(1)
                subscription.commit()
                if heard:
                    self._wake()
