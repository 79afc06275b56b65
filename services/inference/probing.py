"""Does what runs the networks still answer? A picture with a known answer is asked, on a thread of its own.

A model is fenced when it failed several times in a row, or when a call did not come back: its requests are then
refused at once, in words, instead of each waiting for its deadline. It comes back with the first probe that passes.
Batches that are answered are as good as probes, so that a busy model is not probed.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from aimic.errors import AimicError, DeadlineError, NotFoundError, UnavailableError
from aimic.ports.predictor import Predictor
from services.inference import metrics
from services.inference.catalogue import Catalogue, Model, Served
from services.inference.lane import Worker

logger = logging.getLogger(__name__)

_GRACE_S = 1.0
"""A predictor that keeps its promise has said by then that it was too slow."""
_TOLERANCE = 0.1
"""Of the largest check logit. What is allowed of an executor is judged when a model is loaded, much more narrowly;
here it is enough to tell a predictor that lost its weights, which is off by far more."""
_SILENT = "it does not come back from a picture that it answered before"


@dataclass(frozen=True, slots=True)
class ProbeTimes:
    """Seconds."""

    every_s: float
    """Between two signs of life."""
    again_s: float
    """Between tries while something is wrong."""
    timeout_s: float
    """How long a probe may take."""
    failures: int
    """In a row, until a model is fenced."""


@dataclass(slots=True, eq=False)
class Watch:
    """What is known of one model in memory. Its batcher reports to it (see batching.Watch)."""

    model: str
    fence: Callable[["Watch"], None]
    wake: Callable[[], None]
    limit: int
    good_at: float = field(default_factory=time.monotonic)
    answered_at: float = float("-inf")
    """When a batch was answered. A probe is no such sign for others: it needs no turn on the lane where they wait."""
    tried_at: float = float("-inf")
    failures: int = 0
    cause: str = ""
    fenced: bool = False
    call: "asyncio.Future[str | None] | None" = None
    """A probe that goes on. One that never comes back is the only one of its kind."""

    def worked(self) -> None:
        """It answered a batch."""
        self.passed()
        self.answered_at = self.good_at

    def passed(self) -> None:
        """Nothing is wrong with it."""
        self.good_at, self.failures = time.monotonic(), 0

    def failed(self, error: Exception | str) -> None:
        """It did not."""
        words = error if isinstance(error, str) else error.message if isinstance(error, AimicError) else repr(error)
        self.failures, self.cause = self.failures + 1, words.rstrip(".")
        if self.failures >= self.limit and not self.fenced:
            self.fence(self)
        self.wake()

    def stuck(self) -> None:
        """A call did not come back in its time: no other one shall go the same way."""
        self.failures = max(self.failures, self.limit - 1)
        self.failed(_SILENT)

    def due(self, now: float, times: ProbeTimes) -> bool:
        """Whether it is time to look."""
        if self.failures or self.fenced:
            return now - self.tried_at >= times.again_s
        return now - max(self.good_at, self.tried_at) >= times.every_s


class Prober:
    """Watches every model in memory."""

    def __init__(self, predictor: Predictor, catalogue: Catalogue, bundles: Path, times: ProbeTimes) -> None:
        self._predictor = predictor
        self._catalogue = catalogue
        self._bundles = bundles
        self._times = times
        self._watches: dict[str, Watch] = {}
        self._checks: dict[str, tuple[NDArray[np.uint8], NDArray[np.float32]]] = {}
        self._woken = asyncio.Event()

    def watch(self, bundle_hash: str) -> Watch:
        """The watch of a model that is in memory now; nothing is held against it from an earlier time."""
        watch = Watch(bundle_hash, self._fence, self._woken.set, self._times.failures)
        self._watches[bundle_hash] = watch
        return watch

    def refuse_fenced(self, served: Served) -> None:
        """UnavailableError for a version whose model takes no requests."""
        watch = self._watches.get(served.entry.bundle_hash)
        if watch is not None and watch.fenced:
            raise self._unavailable(f"Version {served.entry.version} of {served.entry.name}", watch)

    def trouble(self) -> str | None:
        """Why this process should get no requests: none of the models that should answer does. None otherwise."""
        serving = [served for served in self._catalogue if served.serving and served.model is not None]
        down = [watch for served in serving if (watch := self._watches.get(served.entry.bundle_hash)) and watch.fenced]
        if not serving or len(down) < len(serving):
            return None
        entry = serving[0].entry
        return f"{entry.name} version {entry.version} does not answer: {down[0].cause}; it is tried again"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.step()
            except Exception:
                logger.exception("a round of probes failed; the next one follows")
            try:
                async with asyncio.timeout(min(self._times.again_s, self._times.every_s)):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def step(self) -> None:
        """Probe what is due, all at the same time: what hangs doesn't keep us from the others."""
        models, now = self._models(), time.monotonic()
        for bundle_hash in self._checks.keys() - models.keys():
            del self._checks[bundle_hash]
        watched = [watch for bundle_hash in models if (watch := self._watches.get(bundle_hash))]
        due = [watch for watch in watched if watch.due(now, self._times)]
        await asyncio.gather(*(self._probe(watch) for watch in due))
        self._count()

    async def _probe(self, watch: Watch) -> None:
        started = watch.tried_at = time.monotonic()
        if watch.call is None:
            worker = Worker("probe")
            model = self._models().get(watch.model)
            name = watch.model if model is None else model.loaded.name
            watch.call = worker.run(partial(self._look, watch.model, name))
            worker.retire()
        await asyncio.wait((watch.call,), timeout=self._times.timeout_s + _GRACE_S)
        if watch.call.done():
            call, watch.call = watch.call, None
            wrong = f"the probe failed ({call.exception()!r})" if call.exception() else call.result()
        else:
            wrong = _SILENT
        if wrong is None:
            self._good(watch)
        elif wrong is _SILENT and self._progress_since(started):
            metrics.PROBES.labels("waited").inc()  # it is busy with others, which it answers
        else:
            metrics.PROBES.labels("failed").inc()
            logger.warning("a probe failed", extra={"bundle": watch.model, "cause": wrong})
            watch.failed(wrong)

    def _look(self, bundle_hash: str, name: str) -> str | None:
        """What is wrong, None if nothing is. On a thread; it may never return."""
        try:
            known = self._checks.get(bundle_hash) or _check(self._bundles / bundle_hash)
            pixels, expected = self._checks[bundle_hash] = known
        except (OSError, SafetensorError):
            return None  # its directory goes: it was unloaded, and nobody asks for it any more
        try:
            found = self._predictor.predict(name, pixels, self._times.timeout_s)
        except NotFoundError:
            return None
        except DeadlineError:
            return _SILENT
        except AimicError as error:
            return error.message
        allowed = _TOLERANCE * float(np.abs(expected).max()) + 1e-6
        if found.shape == expected.shape and bool((np.abs(found - expected) <= allowed).all()):
            return None
        return "its answer to a picture is not what it was when it was made"

    def _progress_since(self, moment: float) -> bool:
        return any(watch.answered_at > moment for watch in self._watches.values())

    def _good(self, watch: Watch) -> None:
        metrics.PROBES.labels("passed").inc()
        watch.passed()
        if watch.fenced:
            watch.fenced = False
            logger.info("a model answers again", extra={"bundle": watch.model})

    def _fence(self, watch: Watch) -> None:
        if self._watches.get(watch.model) is not watch:
            return  # it runs with another executor meanwhile: what the one before did says nothing of that
        watch.fenced = True
        logger.error("a model does not answer and is fenced", extra={"bundle": watch.model, "cause": watch.cause})
        self._count()
        model = self._models().get(watch.model)
        if model is not None:
            model.batcher.interrupt(self._unavailable("This model", watch))

    def _models(self) -> dict[str, Model]:
        return {served.entry.bundle_hash: served.model for served in self._catalogue if served.model is not None}

    def _count(self) -> None:
        models = self._models()
        metrics.FENCED.set(sum(watch.fenced for watch in self._watches.values() if watch.model in models))

    def _unavailable(self, what: str, watch: Watch) -> UnavailableError:
        return UnavailableError(
            f"{what} does not answer at the moment: {watch.cause}. It is tried again every few seconds and comes back "
            "by itself; ask again then.",
            retry_after_s=max(2.0, 2 * self._times.again_s),
        )


def _check(directory: Path) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The first check picture of a bundle, [1, S, S, 3], and its logits [1, classes]."""
    with safe_open(directory / "check.safetensors", "np") as tensors:
        return tensors.get_slice("inputs")[:1], tensors.get_slice("logits")[:1]
