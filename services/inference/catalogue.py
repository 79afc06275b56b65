"""What this process serves: versions, what became of them here, and the models in memory. Event loop only."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from aimic.domain.model import ServingEntry, Stage
from aimic.errors import NotFoundError
from aimic.nets.bundle import BundleInfo
from aimic.ports.predictor import LoadedModel
from services.inference.batching import Batcher
from services.inference.metrics import STATES
from services.inference.seen import VERSIONS

State = Literal["ready", "loading", "refused"]
Key = tuple[str, str, int]
"""Site, name, version."""

ON_DEMAND = "It is loaded when it is first asked for."
LOADING = "It is being fetched, checked and measured."

SOON_S = 15.0
LATER_S = 600.0
_MOST_DOUBLINGS = 10
_TRIES = 4
"""To load a version, until it is known that it won't be there soon: about a quarter of a minute."""


@dataclass(slots=True, eq=False)
class Model:
    """A bundle in memory. Several versions may stand for the same bundle."""

    info: BundleInfo
    loaded: LoadedModel
    batcher: Batcher
    in_use: int = 0
    used_at: float = field(default_factory=time.monotonic)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    note: str | None = None
    """What is still to be known of it, in plain words."""
    leaving: bool = False
    """It takes no new requests; it is unloaded when the last one is answered."""

    @contextmanager
    def use(self) -> Iterator[None]:
        """Keeps the model in memory while a request works with it."""
        self.in_use += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.in_use -= 1
            self.used_at = time.monotonic()
            if self.in_use == 0:
                self.idle.set()


@dataclass(slots=True, eq=False)
class Served:
    """One version that the registry wants, and where it stands here."""

    entry: ServingEntry
    state: State = "loading"
    reason: str | None = None
    model: Model | None = None
    waiting: int = 0
    """Requests that wait for its model to be loaded."""
    failures: int = 0
    retry_at: float = 0.0
    """When loading may be tried again (monotonic seconds)."""

    @property
    def key(self) -> Key:
        """Site, name, version."""
        return (self.entry.site, self.entry.name, self.entry.version)

    @property
    def serving(self) -> bool:
        """Whether it takes the requests that name no version."""
        return self.entry.stage is Stage.SERVING

    @property
    def remark(self) -> str | None:
        """Why it is not ready, or what is still to be known of it; None when nothing is."""
        return self.reason or (None if self.model is None else self.model.note)

    def ready(self, model: Model) -> None:
        """It answers now."""
        self.state, self.reason, self.model = "ready", None, model
        self.failures, self.retry_at = 0, 0.0

    def took_over(self, before: Model, model: Model) -> None:
        """The same bundle runs in another way from now on."""
        if self.model is before:
            self.model = model

    def unloaded(self) -> None:
        """Its model made room for another; it comes back when it is asked for."""
        self.state, self.reason, self.model = "loading", ON_DEMAND, None

    def try_soon(self) -> None:
        """What kept it from loading may be over."""
        if self.state == "loading":
            self.failures, self.retry_at = 0, 0.0

    def failed(self, reason: str, *, refused: bool, longest_s: float = SOON_S) -> None:
        """It couldn't be loaded, for `reason` in plain words; the next try waits longer each time, to `longest_s`."""
        self.state, self.reason, self.model = "refused" if refused else "loading", reason, None
        self.failures += 1
        self.retry_at = time.monotonic() + min(longest_s, 2.0 ** min(self.failures, _MOST_DOUBLINGS))


class Catalogue:
    """The versions known, by site and name."""

    def __init__(self) -> None:
        self._versions: dict[Key, Served] = {}
        self._current: dict[tuple[str, str], Key] = {}

    def __iter__(self) -> Iterator[Served]:
        return iter(sorted(self._versions.values(), key=lambda served: served.key))

    def apply(self, wanted: tuple[ServingEntry, ...], answering: Iterable[Key] = ()) -> list[Served]:
        """Take the registry's list; returns the versions that are no longer wanted.

        `answering` are the versions that answered for their names in an earlier life (see `answering`).
        """
        keys = {(entry.site, entry.name, entry.version) for entry in wanted}
        gone = [served for key, served in self._versions.items() if key not in keys]
        for served in gone:
            self._forget(served)
        for entry in wanted:
            gone += self._want(entry)
        self._current |= {key[:2]: key for key in answering if key in self._versions}
        self.refresh()
        VERSIONS.keep(wanted)
        return gone

    def refresh(self) -> None:
        """Let each name's requests go to its serving version as soon as that one is ready, and not before."""
        for served in self._versions.values():
            if served.serving and served.model is not None:
                self._current[(served.entry.site, served.entry.name)] = served.key
        for state in ("ready", "loading", "refused"):
            STATES.labels(state).set(sum(served.state == state for served in self._versions.values()))

    def resolve(self, site: str, name: str, version: int | None) -> Served:
        """The version asked for, or the one that serves; NotFoundError when there is none."""
        if version is not None:
            served = self._versions.get((site, name, version))
            if served is None:
                raise NotFoundError(f"There is no version {version} of a model {name!r} here.")
            return served
        serving = next((served for served in self._of(site, name) if served.serving), None)
        if serving is None:
            raise NotFoundError(f"There is no model {name!r} that serves here.")
        # A new version that isn't ready yet, or was refused, leaves the work to the one before.
        before = self._before(serving)
        return before if serving.model is None and before.model is not None else serving

    def answering(self) -> tuple[Key, ...]:
        """The version of each name that answers: the one that serves, or still the one before it."""
        return tuple(sorted(self._current.values()))

    def at(self, site: str, name: str | None = None) -> list[Served]:
        """What one site sees, by name and version."""
        return [s for s in self if s.entry.site == site and name in (None, s.entry.name)]

    def holders(self, bundle_hash: str) -> list[Served]:
        """All versions that stand for a bundle."""
        return [served for served in self._versions.values() if served.entry.bundle_hash == bundle_hash]

    def pinned(self, bundle_hash: str) -> bool:
        """Whether a model must stay in memory: it serves, or still does until its successor is ready."""
        current = set(self._current.values())
        return any(served.serving or served.key in current for served in self.holders(bundle_hash))

    def hurry(self, bundle_hash: str) -> bool:
        """Whether somebody waits for this model: requests, or a name for which no other version answers."""
        held = self.holders(bundle_hash)
        return self.awaited(bundle_hash) or any(s.serving and self._before(s).model is None for s in held)

    def awaited(self, bundle_hash: str) -> bool:
        """Whether requests wait for this model: one that was just loaded for them has not been used by them yet."""
        return any(served.waiting for served in self.holders(bundle_hash))

    def unsettled(self, *, alone: bool) -> list[Served]:
        """Serving versions that are neither ready nor refused, and for which no earlier one answers.

        One that could not be loaded several times, for whatever reason, keeps nobody waiting for what is here; when
        we are `alone`, without the registry, once is enough. Where nothing else serves it is waited for: there is
        nothing that such a process could answer.
        """
        waiting = [served for served in self if served.serving and served.state == "loading"]
        if any(served.serving and served.model is not None for served in self):
            waiting = [served for served in waiting if served.failures < (1 if alone else _TRIES)]
        return [served for served in waiting if self._before(served).model is None]

    def _before(self, serving: Served) -> Served:
        """The version that answers for the name of `serving`: itself, unless there was one before it."""
        return self._versions.get(self._current.get(serving.key[:2], serving.key), serving)

    def _of(self, site: str, name: str) -> Iterator[Served]:
        return (s for s in self._versions.values() if s.entry.site == site and s.entry.name == name)

    def _want(self, entry: ServingEntry) -> list[Served]:
        """Add or change one version; a version whose bundle changed is another one, and the old is returned."""
        key = (entry.site, entry.name, entry.version)
        known = self._versions.get(key)
        if known is None or known.entry.bundle_hash != entry.bundle_hash:
            reason = LOADING if entry.stage is Stage.SERVING else ON_DEMAND
            self._versions[key] = Served(entry, reason=reason)
            return [known] if known is not None else []
        known.entry = entry
        return []

    def _forget(self, served: Served) -> None:
        del self._versions[served.key]
        name = (served.entry.site, served.entry.name)
        if self._current.get(name) == served.key:
            del self._current[name]
