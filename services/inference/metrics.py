"""What Prometheus sees of serving.

Names of models come from the registry, so the versions that have series are bounded: those that the registry still
lists, and of these the MOST_VERSIONS that were asked last.
"""

from collections import OrderedDict
from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram

from aimic import tracing
from aimic.domain.model import ServingEntry
from aimic.ports.predictor import LoadedModel
from aimic.telemetry import exemplar

# Fit for 1 ms to 10 s: a cached network on one image up to a large batch on a busy machine.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LABELS = ("model", "version")

DECODE_SECONDS = Histogram(
    "aimic_inference_decode_seconds", "Decoding and resizing one image, waiting included", LABELS, buckets=BUCKETS
)
QUEUE_SECONDS = Histogram(
    "aimic_inference_queue_seconds", "From decoded to the start of its batch, per image", LABELS, buckets=BUCKETS
)
COMPUTE_SECONDS = Histogram(
    "aimic_inference_compute_seconds", "The network on one batch, as each of its images saw it", LABELS, buckets=BUCKETS
)
TOTAL_SECONDS = Histogram(
    "aimic_inference_total_seconds", "One request, from admission to answer", LABELS, buckets=BUCKETS
)
BATCH_IMAGES = Histogram(
    "aimic_inference_batch_images", "Images per batch", ["bundle"], buckets=(1, 2, 4, 8, 16, 32, 64)
)
IN_FLIGHT = Gauge("aimic_inference_images_in_flight", "Images admitted and not yet answered")
REJECTED = Counter("aimic_inference_rejections_total", "Requests and images without an answer, by reason", ["reason"])
LOADED = Gauge("aimic_inference_models_loaded", "Models in memory")
LOADED_BYTES = Gauge("aimic_inference_models_memory_bytes", "What the models in memory take of it, about")
FENCED = Gauge("aimic_inference_models_fenced", "Models in memory that take no requests since they don't answer")
STATES = Gauge("aimic_inference_versions", "Versions known, by state", ["state"])
UP = Gauge("aimic_inference_server_up", "1 when the server answered last time, else 0: ingest, events", ["server"])
REGISTRY_FAILURES = Counter("aimic_inference_registry_failures_total", "Questions to the registry without an answer")
DECODER_DEATHS = Counter("aimic_inference_decoder_deaths_total", "Decoding processes that died or took too long")
GRPC_SECONDS = Histogram(
    "aimic_inference_grpc_seconds", "gRPC calls, by method and code", ["method", "code"], buckets=BUCKETS
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

    def of(self, entry: ServingEntry) -> Seen:
        """The series of a version that is asked."""
        key = (entry.name, str(entry.version))
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = Seen(*key)
            if len(self._seen) > self._most:
                self._forget(next(iter(self._seen)))
        self._seen.move_to_end(key)
        return found

    def keep(self, entries: Iterable[ServingEntry]) -> None:
        """The registry lists these; the series of all others go."""
        wanted = list(entries)
        for key in self._seen.keys() - {(entry.name, str(entry.version)) for entry in wanted}:
            self._forget(key)
        bundles = {entry.bundle_hash[:12] for entry in wanted}
        known = {sample.labels["bundle"] for family in BATCH_IMAGES.collect() for sample in family.samples}
        for bundle in known - bundles:
            BATCH_IMAGES.remove(bundle)

    def _forget(self, key: tuple[str, str]) -> None:
        del self._seen[key]
        for histogram in BY_VERSION:
            histogram.remove(*key)


VERSIONS = Versions()
