"""Which executor a model begins with, and its change to another one once that is known.

A measurement takes half a minute, and who asks for a new model shall not wait for that: it begins with eager torch and
goes over, without a gap, when its class of machines has its executor. A version that follows another is in no hurry,
since the one before answers meanwhile: it is measured first, so that a promotion never makes answers slower.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aimic.domain.model import ServingEntry
from aimic.errors import AimicError
from services.inference.catalogue import Model
from services.inference.executors import Executors
from services.inference.memory import Memory

logger = logging.getLogger(__name__)

_LOOK_S = 0.1
_AGAIN_S = 15.0
_REST = 10
"""After a try that led to nothing, a rest of so many times what it took: a machine shall not measure without end."""


FOR_NOW = "It answers. What runs it fastest on this machine is still being found out; it goes over to that by itself."


class First(NamedTuple):
    """With what a model is loaded."""

    executor: str | None
    """None: eager torch."""
    settled: bool
    """Whether that is what its class of machines runs; else it may change."""


class _Pending(NamedTuple):
    """A model that runs with eager torch for now."""

    entry: ServingEntry
    directory: Path
    model: Model
    again_at: float = 0.0
    told: str = ""
    """Why it could not go over, as the log says already."""


class Switching:
    """Event loop only."""

    def __init__(self, memory: Memory, executors: Executors) -> None:
        self._memory = memory
        self._executors = executors
        self._choosing: dict[str, asyncio.Task[str | None]] = {}
        self._going: dict[str, asyncio.Task[None]] = {}
        self._pending: dict[str, _Pending] = {}
        self._rests: dict[str, float] = {}
        """Until when nothing is measured for a bundle, after a try that led to nothing."""

    async def first(self, entry: ServingEntry, directory: Path, hurry: Callable[[], bool]) -> First:
        """With what to load the entry's bundle, which lies in `directory`; it is measured before unless in a hurry."""
        settled, executor = await self._executors.known(entry)
        if settled:
            return First(executor, settled=True)
        choosing = self._choose(entry, directory)
        while not choosing.done() and not hurry():
            await asyncio.wait((choosing,), timeout=_LOOK_S)
        executor = choosing.result() if choosing.done() and not choosing.cancelled() else None
        return First(executor, settled=executor is not None)

    def follow(self, entry: ServingEntry, directory: Path, model: Model) -> None:
        """This model was loaded before its executor was settled: it goes over when that is."""
        model.note = FOR_NOW
        again_at = self._rests.get(entry.bundle_hash, 0.0)
        self._pending[entry.bundle_hash] = _Pending(entry, directory, model, again_at)
        self.step()

    def step(self) -> None:
        """Try again what is due, and forget what is no longer in memory."""
        for bundle_hash in [each for each in self._pending if not self._memory.holds(each)]:
            self.forget(bundle_hash)
        for bundle_hash, pending in self._pending.items():
            if bundle_hash not in self._going and pending.again_at <= time.monotonic():
                task = asyncio.create_task(self._go_over(pending), name=f"switch {bundle_hash[:12]}")
                self._going[bundle_hash] = task

    def forget(self, bundle_hash: str) -> None:
        """Nobody wants this bundle any longer; what is measured for it ends."""
        self._pending.pop(bundle_hash, None)
        self._rests.pop(bundle_hash, None)
        for task in (self._going.get(bundle_hash), self._choosing.get(bundle_hash)):
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Stop what goes on."""
        self._pending.clear()
        tasks = [*self._going.values(), *self._choosing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _choose(self, entry: ServingEntry, directory: Path) -> asyncio.Task[str | None]:
        """Begin to find out, or join who does."""
        task = self._choosing.get(entry.bundle_hash)
        if task is None:
            task = asyncio.create_task(self._chosen(entry, directory), name=f"choose {entry.bundle_hash[:12]}")
            self._choosing[entry.bundle_hash] = task
            task.add_done_callback(lambda _: self._choosing.pop(entry.bundle_hash, None))
        return task

    async def _chosen(self, entry: ServingEntry, directory: Path) -> str | None:
        bundle_hash, started, executor = entry.bundle_hash, time.monotonic(), None
        try:
            executor = await self._executors.of(entry, directory)
        except Exception:
            logger.exception("no executor was chosen; eager torch for now", extra={"bundle": bundle_hash})
        if executor is None:
            self._rests[bundle_hash] = _rested(started)
        return executor

    async def _go_over(self, pending: _Pending) -> None:
        entry, directory, model, *_ = pending
        bundle_hash, started = entry.bundle_hash, time.monotonic()
        try:
            executor = await asyncio.shield(self._choose(entry, directory))
            if executor is not None:
                await self._memory.switch(bundle_hash, directory, executor)
                model.note = None
                self._pending.pop(bundle_hash, None)
                return
        except AimicError as error:
            if error.message != pending.told:
                logger.warning("eager torch goes on", extra={"bundle": bundle_hash, "cause": error.message})
            pending = pending._replace(told=error.message)
        except Exception:
            logger.exception("eager torch goes on", extra={"bundle": bundle_hash})
        finally:
            self._going.pop(bundle_hash, None)
        if bundle_hash in self._pending:
            again_at = max(_rested(started), self._rests.get(bundle_hash, 0.0))
            self._pending[bundle_hash] = pending._replace(again_at=again_at)


def _rested(started: float) -> float:
    """When what began then, and led to nothing, may be tried again (monotonic seconds)."""
    now = time.monotonic()
    return now + max(_AGAIN_S, _REST * (now - started))
