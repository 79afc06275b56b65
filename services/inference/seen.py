"""Each version as Prometheus and traces see it.

Names of models come from the registry, so the versions that have series are bounded: those that the registry still
lists, and of these the MOST_VERSIONS that were asked last.
"""

from collections import OrderedDict
from collections.abc import Iterable

from aimic import tracing
from aimic.domain.model import ServingEntry
from aimic.ports.predictor import LoadedModel
from aimic.telemetry import exemplar
from services.inference.metrics import (
    BATCH_IMAGES,
    COMPUTE_SECONDS,
    DECODE_SECONDS,
    LOADED,
    LOADED_BYTES,
    QUEUE_SECONDS,
    TOTAL_SECONDS,
)

MOST_VERSIONS = 100
BY_VERSION = (DECODE_SECONDS, QUEUE_SECONDS, COMPUTE_SECONDS, TOTAL_SECONDS)


class Seen:
    """One version, as Prometheus and traces see it. Its series are looked up once."""

    def __init__(self, name: str, version: str) -> None:
        self._decode, self._queue, self._compute, self._total = (each.labels(name, version) for each in BY_VERSION)
        self._facts = {"aimic.model": name, "aimic.version": version}

    def decoded(self, seconds: float) -> None:
        """One image became pixels."""
        self._decode.observe(seconds, exemplar())
        tracing.current().record("decode", seconds)

    def computed(self, queue_s: float, compute_s: float, batch: int) -> None:
        """One image waited for its batch of `batch` images, which the network has just answered."""
        self._queue.observe(queue_s, exemplar())
        self._compute.observe(compute_s, exemplar())
        span = tracing.current()
        span.record("queue", queue_s, ago_s=compute_s)
        span.record("compute", compute_s, facts={"aimic.batch": batch})

    def answered(self, seconds: float, images: int) -> None:
        """A request for `images` images has its answer."""
        self._total.observe(seconds, exemplar())
        tracing.current().note({**self._facts, "aimic.images": images})


def in_memory(models: Iterable[LoadedModel]) -> None:
    """These are the models in memory now."""
    sizes = [model.memory_bytes for model in models]
    LOADED.set(len(sizes))
    LOADED_BYTES.set(sum(sizes))


class Versions:
    """The versions that have series. Event loop only."""

    def __init__(self, most: int = MOST_VERSIONS) -> None:
        self._most = most
        self._seen: OrderedDict[tuple[str, str], Seen] = OrderedDict()
        self._bundles: dict[tuple[str, str], str] = {}

    def of(self, entry: ServingEntry) -> Seen:
        """The series of a version that is asked."""
        key = (entry.name, str(entry.version))
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = Seen(*key)
            self._bundles[key] = entry.bundle_hash[:12]
            if len(self._seen) > self._most:
                self._forget(next(iter(self._seen)))
        self._seen.move_to_end(key)
        return found

    def keep(self, entries: Iterable[ServingEntry]) -> None:
        """The registry lists these; the series of all others go."""
        for key in self._seen.keys() - {(entry.name, str(entry.version)) for entry in entries}:
            self._forget(key)
        # A batch that was at work when its version went has made a series again.
        known = {sample.labels["bundle"] for family in BATCH_IMAGES.collect() for sample in family.samples}
        for bundle in known - set(self._bundles.values()):
            BATCH_IMAGES.remove(bundle)

    def _forget(self, key: tuple[str, str]) -> None:
        del self._seen[key]
        for histogram in BY_VERSION:
            histogram.remove(*key)
        bundle = self._bundles.pop(key)
        if bundle not in self._bundles.values():
            BATCH_IMAGES.remove(bundle)


VERSIONS = Versions()
