"""Keeps TorchServe and its models running: starts it again when it dies, renews tokens, fences what keeps dying."""

import errno
import logging
import math
import threading
import time
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from aimic.adapters.torchserve import archive
from aimic.adapters.torchserve.fence import Fence
from aimic.adapters.torchserve.front import Front
from aimic.adapters.torchserve.ground import Ground, Settings
from aimic.errors import AimicError, FullError, UnavailableError
from aimic.ports.predictor import LoadedModel

logger = logging.getLogger(__name__)

_TICK_S = 0.5
_LOOK_S = 1.0
"""How often each model's worker is looked at, when nothing seems wrong."""
_LONGEST_PAUSE_S = 30.0
_LEAVING_S = 5.0
"""After so long a model that could not be ended is told to end once more."""
_HANGS = 3
"""After so many rounds in a row in which it gave no answer, TorchServe itself hangs and is started again."""


@dataclass(slots=True, eq=False)
class Kept:
    """A model that is to be served."""

    loaded: LoadedModel
    executor: str | None
    fence: Fence
    pid: int | None
    """Its worker, as we saw it last."""
    ready_at: float
    """When its worker was ready the last time we looked."""
    looked_at: float = 0.0
    refused_at: float = 0.0
    """When a question was asked that its worker refused, since it runs another executor than was promised."""
    away: str = ""
    """Why it can't be asked now; empty when it can."""

    @property
    def name(self) -> str:
        """What TorchServe calls it."""
        return self.loaded.name

    @property
    def wrong(self) -> bool:
        """Whether its worker runs another executor than its answers name. What one refused before it was started again
        says nothing of the one after.
        """
        return self.refused_at > self.fence.opened_at


class Keeper:
    """A thread of its own. Others call `load`, `unload` and `close`, and read `models` and `front` as they are."""

    def __init__(self, settings: Settings) -> None:
        """Begin to start TorchServe. SystemExit where it can't be: without Java, for example."""
        self.settings = settings
        self.ground = Ground(settings)
        self.models: dict[str, Kept] = {}
        self.front: Front | None = None
        """TorchServe when it runs."""
        self.away = "TorchServe is being started"
        self._latest: Front | None = None
        self._leaving: dict[str, float] = {}
        """Models that TorchServe may still have, although it was told to end them; when each is told again."""
        self._changing = threading.RLock()
        self._up = threading.Event()
        self._wake = threading.Event()
        self._closed = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="torchserve", daemon=True)
        self._thread.start()

    def load(self, bundle: Path, bundle_hash: str, executor: str | None, name: str) -> LoadedModel:
        """Serve this verified bundle under a name. Errors as Front.register's; it is not served then."""
        self._up.wait(self.settings.start_s)
        with self._changing:
            front = self.front
            if front is None:
                raise UnavailableError(f"{self.away}. The model was not loaded; ask again in a minute.")
            known = self.models.get(name)
            if known is not None and known.executor == executor and not known.away:
                return known.loaded
            if known is not None or name in self._leaving:
                self._drop(name)
            try:
                archive.build(bundle, bundle_hash, self.ground.store, self.settings.threads, executor, name)
                loaded = self._begin(front, name)
                # TorchServe starts workers by itself, and each is to run what this one does: answers name that.
                archive.promise(self.ground.store / name, loaded.executor)
                pid = front.worker(name).pid
            except BaseException as error:
                self._drop(name)
                if isinstance(error, OSError):
                    raise self._no_archive(error) from error
                raise
            settings = self.settings
            fence = Fence(settings.deaths, settings.deaths_s, settings.fenced_s)
            self.models[name] = Kept(loaded, executor, fence, pid, time.monotonic())
            return loaded

    def unload(self, name: str) -> None:
        """Serve it no longer."""
        with self._changing:
            self._drop(name)

    def suspect(self) -> None:
        """A call went wrong: look at the workers now."""
        for kept in tuple(self.models.values()):
            kept.looked_at = 0.0
        self._wake.set()

    def close(self) -> None:
        """End TorchServe and remove all that it needed."""
        self._closed = True
        self._up.set()
        self._wake.set()
        self.front = None
        if self._latest is not None:
            self._latest.close()  # what the thread waits for ends with it
        self._thread.join(30)
        self.models.clear()
        self.ground.remove()

    def _no_archive(self, error: OSError) -> AimicError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return (FullError if full else UnavailableError)(
            f"The model could not be written to {self.ground.directory}, where TorchServe works ({error.strerror}). "
            "What is loaded goes on. It is tried again by itself; make space there, or name another directory with "
            "AIMIC_PREDICTOR_URL=torchserve:///directory."
        )

    def _drop(self, name: str) -> None:
        self.models.pop(name, None)
        self._end(self.front, name)
        archive.remove(self.ground.store / name)

    def _begin(self, front: Front, name: str) -> LoadedModel:
        """Start its worker; errors as Front.register's."""
        loaded = front.register(name)
        self._leaving.pop(name, None)  # what was to leave has left: TorchServe takes no name twice
        return loaded

    def _end(self, front: Front | None, name: str) -> None:
        """End its worker; where that fails it is tried again by itself. Without TorchServe there is none."""
        if front is None or front.unregister(name):
            self._leaving.pop(name, None)
        else:
            logger.warning("a model's worker could not be ended; it is tried again", extra={"model": name})
            self._leaving[name] = time.monotonic() + _LEAVING_S

    def _run(self) -> None:
        while not self._closed:
            try:
                self._step()
                self._failures = 0
            except Exception as error:
                if not self._closed:
                    self._went_wrong(error)
            self._wake.wait(min(_LONGEST_PAUSE_S, _TICK_S * 2 ** min(self._failures, 10)))
            self._wake.clear()

    def _went_wrong(self, error: Exception) -> None:
        self._failures += 1
        cause = error.message if isinstance(error, AimicError) else repr(error)
        logger.warning("looking after TorchServe failed; it goes on", extra={"cause": cause})
        if self.front is not None and self._failures >= _HANGS:
            logger.error("TorchServe hangs; it is ended and started again")
            self.front.close()

    def _step(self) -> None:
        front = self.front
        if front is None or not front.child.running:
            front = self._start_again(front)
        front.calls.tokens.renew_due()
        for kept in tuple(self.models.values()):
            if kept.fence.until is None and time.monotonic() - kept.looked_at >= _LOOK_S:
                self._look_at(front, kept)
        self._end_one(front)
        self._restore_one(front)

    def _end_one(self, front: Front) -> None:
        """Try again to end the model that waits longest for that: it holds memory, and each try may take seconds."""
        waiting = tuple(self._leaving.items())
        name, again_at = min(waiting, key=itemgetter(1), default=("", math.inf))
        if again_at > time.monotonic() or not self._changing.acquire(blocking=False):
            return  # who loads a model holds it for minutes, and the others are to be looked at meanwhile
        try:
            if name in self._leaving:
                self._end(front, name)
        finally:
            self._changing.release()

    def _restore_one(self, front: Front) -> None:
        """Try the fenced model that waits longest for its turn: a try may take minutes, so the others are looked at
        between two of them."""
        now = time.monotonic()
        due = [(kept.fence.until, kept) for kept in tuple(self.models.values()) if kept.fence.until is not None]
        until, kept = min(due, key=itemgetter(0), default=(math.inf, None))
        if kept is not None and until <= now:
            self._restore(front, kept)

    def _start_again(self, dead: Front | None) -> Front:
        """Start TorchServe, and in it every model that is to be served."""
        self._up.clear()
        self.front = None
        if dead is not None:
            logger.error("TorchServe died; it is started again", extra={"last_words": dead.child.last_words})
            self.away = "TorchServe died and is being started again"
            dead.close()
        front = self._latest = Front(self.ground, self.settings)
        try:
            if self._closed:
                raise UnavailableError("TorchServe is being ended.")
            front.wait()
        except BaseException:
            front.close()
            raise
        logger.info("TorchServe runs", extra={"directory": str(self.ground.directory)})
        for kept in tuple(self.models.values()):
            kept.away = kept.away or "TorchServe died; this model is being loaded again."
        self.front = front
        self._up.set()
        for kept in tuple(self.models.values()):
            if kept.fence.until is None:
                self._restore(front, kept)
        return front

    def _restore(self, front: Front, kept: Kept) -> None:
        """Start a model's worker anew. When that fails, its fence is closed, for longer each time."""
        with self._changing:
            if self.models.get(kept.name) is not kept:
                return
            self._end(front, kept.name)
            try:
                runs = self._begin(front, kept.name).executor
                if runs != kept.loaded.executor:
                    raise UnavailableError(f"It runs {runs}, and its answers would name {kept.loaded.executor}.")
                kept.pid = front.worker(kept.name).pid
            except AimicError as error:
                self._end(front, kept.name)  # it may have started, and not as it should
                kept.fence.close(time.monotonic(), "could not be started again")
                kept.away = kept.fence.words
                logger.error("model not started again", extra={"model": kept.name, "cause": error.message})
                return
        kept.ready_at = time.monotonic()
        kept.fence.open(kept.ready_at)
        kept.away = ""
        logger.info("model started again", extra={"model": kept.name})

    def _look_at(self, front: Front, kept: Kept) -> None:
        """Count the death of its worker if there is another than last time; fence what dies often, stays away, or came
        back with another executor.
        """
        now = kept.looked_at = time.monotonic()
        worker = front.worker(kept.name)
        if worker.ready:
            kept.ready_at = now
        if worker.pid == kept.pid and now - kept.ready_at < self.settings.recover_s and not kept.wrong:
            return
        with self._changing:
            if self.models.get(kept.name) is not kept:
                return
            if kept.pid not in (None, worker.pid):
                logger.warning("a model's worker died", extra={"model": kept.name, "worker": kept.pid})
                kept.fence.died(now)
            kept.pid = worker.pid
            if kept.fence.until is None and kept.wrong:
                kept.fence.close(now, "was started again and runs it in another way than its answers say")
            elif kept.fence.until is None and now - kept.ready_at >= self.settings.recover_s:
                kept.fence.close(now, f"ended and did not come back within {self.settings.recover_s:g} s")
            if kept.fence.until is not None:
                kept.away = kept.fence.words
                logger.error("model fenced", extra={"model": kept.name, "cause": kept.away})
                self._end(front, kept.name)
