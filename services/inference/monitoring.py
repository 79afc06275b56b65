"""Values that are read when `/metrics` is asked for: the models in memory, and the predictor's own metrics."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aimic.domain.model import ServingEntry
from aimic.monitoring import Foreign, Punctual, up_family
from aimic.ports.predictor import Predictor
from services.inference.catalogue import Model, Served

PREDICTOR_UP = "aimic_inference_predictor_metrics_up"


class ModelsCollector(Collector):
    """What is in memory and how it runs. One row for each version that can answer now."""

    def __init__(self, versions: Iterable[Served]) -> None:
        self._versions = versions

    def describe(self) -> Iterator[Metric]:
        """The families, empty."""
        yield from _of_models()

    def collect(self) -> Iterator[Metric]:
        """The values now. From any thread: the catalogue gives a list of its own at once."""
        info, memory = _of_models()
        loaded = [(served.entry, served.model) for served in self._versions if served.model is not None]
        rows = {
            (entry.name, str(entry.version), entry.bundle_hash[:12], model.loaded.executor) for entry, model in loaded
        }
        for row in sorted(rows):
            info.add_metric(row, 1)
        for bundle, model in sorted(_by_bundle(loaded).items()):
            memory.add_metric([bundle], model.loaded.memory_bytes)
        yield from (info, memory)


def _families() -> tuple[GaugeMetricFamily, ...]:
    return (*_of_models(), up_family(PREDICTOR_UP))


def _of_models() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    info = GaugeMetricFamily(
        "aimic_inference_model_info",
        "1 for each version in memory, with its bundle and what runs it",
        labels=["model", "version", "bundle", "executor"],
    )
    memory = GaugeMetricFamily(
        "aimic_inference_model_memory_bytes", "What a bundle in memory takes of it, about", labels=["bundle"]
    )
    return info, memory


def _by_bundle(loaded: Iterable[tuple[ServingEntry, Model]]) -> dict[str, Model]:
    return {entry.bundle_hash[:12]: model for entry, model in loaded}


def collectors(versions: Iterable[Served], predictor: Predictor) -> Iterator[Collector]:
    """What this process registers once; a predictor that has metrics of its own (`metrics()`, in Prometheus' text
    format, such as TorchServe's) has them shown beside ours."""
    yield ModelsCollector(versions)
    read = getattr(predictor, "metrics", None)
    if read is None:
        return

    def of_a_model_here(labels: Mapping[str, str]) -> bool:
        """TorchServe goes on telling of models that it had once."""
        told = labels.get("model_name") or labels.get("ModelName")
        return told is None or told in {model.name for model in predictor.loaded()}

    foreign = Foreign(read, PREDICTOR_UP, of_a_model_here)
    yield Punctual(foreign, foreign.away)
