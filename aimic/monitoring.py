"""Values for `/metrics` that others hold: a collector that may hang, and another program's own metrics."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

PUNCTUAL_S = 0.8
MOST_BYTES = 4 * 1024 * 1024
MOST_SAMPLES = 5000
_UP = "1 when the program that runs the networks told its own metrics, else 0"
_OURS = ("aimic_", "python_", "process_")
"""What another program must not say in our place."""


class Described(Protocol):
    """A collector that tells its families without asking anybody for values."""

    def collect(self) -> Iterable[Metric]:
        """The values now."""

    def describe(self) -> Iterable[Metric]:
        """The families, empty."""


def _nothing() -> Iterable[Metric]:
    return ()


class Punctual(Collector):
    """Another collector's values if they come within PUNCTUAL_S, else `instead()`'s: what hangs doesn't hold up
    `/metrics`."""

    def __init__(self, collector: Described, instead: Callable[[], Iterable[Metric]] = _nothing) -> None:
        self._collector = collector
        self._instead = instead
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._busy = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """The values; a missing one says that it isn't known."""
        try:
            yield from self._asked()
        except LateError:
            yield from self._instead()

    def _asked(self) -> list[Metric]:
        if not self._busy.acquire(blocking=False):
            raise LateError  # the last question still waits for its answer
        asked = self._pool.submit(lambda: list(self._collector.collect()))
        asked.add_done_callback(lambda _: self._busy.release())
        return asked.result(PUNCTUAL_S)

    def describe(self) -> Iterable[Metric]:
        """The families, empty: registering us asks nobody."""
        return self._collector.describe()


class Foreign(Collector):
    """Another program's metrics, as `read()` gives them in Prometheus' text format, under their own names.

    `up` is the name of a gauge of ours that says whether they could be read. Nothing of that text can spoil ours.
    Samples that aren't `wanted()`, by their labels, are left out.
    """

    def __init__(
        self, read: Callable[[], str], up: str, wanted: Callable[[Mapping[str, str]], bool] = lambda _: True
    ) -> None:
        self._read = read
        self._up = up
        self._wanted = wanted
        self._told = False

    def describe(self) -> Iterator[Metric]:
        """What is ours; the rest is known when it is read."""
        yield up_family(self._up)

    def away(self) -> Iterator[Metric]:
        """What is known while that program doesn't answer."""
        yield up_family(self._up, 0.0)

    def collect(self) -> Iterator[Metric]:
        """What can be read now."""
        try:
            text = self._read()
            self._told = False
        except Exception as error:  # whatever that program does, our own metrics are shown
            if not self._told:
                logger.warning("a program's own metrics can't be read", extra={"up": self._up, "cause": repr(error)})
            self._told, text = True, ""
        yield up_family(self._up, float(bool(text)))
        for family in families_of(text):
            family.samples = [sample for sample in family.samples if self._wanted(sample.labels)]
            yield family


def up_family(name: str, value: float | None = None) -> GaugeMetricFamily:
    """The gauge that says whether another program's metrics could be read."""
    return GaugeMetricFamily(name, _UP, value)


def families_of(text: str) -> list[Metric]:
    """The families in a text of Prometheus' format (version 0.0.4) that we may show beside ours; names stay.

    A family that makes no sense, or pretends to be ours, is left out, and so is what comes after MOST_SAMPLES.
    """
    if len(text) > MOST_BYTES:
        return []
    families: dict[str, Metric] = {}
    samples = 0
    for block in _blocks(text):
        for family in _parsed(block):
            samples += len(family.samples)
            if samples > MOST_SAMPLES:
                return list(families.values())
            known = families.setdefault(family.name, family)
            if known is not family and known.type == family.type:
                known.samples += family.samples
    return list(families.values())


def _blocks(text: str) -> Iterator[str]:
    """Pieces that can be read, or not, one by one: a family with its comments."""
    block: list[str] = []
    for line in text.splitlines():
        begins = line.startswith("# HELP") or (line.startswith("# TYPE") and not _describes(block, line))
        if begins and block:
            yield "\n".join(block)
            block = []
        block.append(line)
    if block:
        yield "\n".join(block)


def _describes(block: list[str], line: str) -> bool:
    """Whether this TYPE belongs to the HELP that came just before."""
    return len(block) == 1 and block[0].split()[1:3] == ["HELP", *line.split()[2:3]]


def _parsed(block: str) -> list[Metric]:
    try:
        found = [family for family in text_string_to_metric_families(block + "\n") if _is_allowed(family)]
        for family in found:
            # A value's time is when we show it; an older one would be taken for a series that stands still.
            family.samples = [sample._replace(timestamp=None) for sample in family.samples]
            _show(family)
    except Exception:  # the parser raises whatever the text makes it stumble over
        return []
    return found


def _is_allowed(family: Metric) -> bool:
    return bool(family.name and family.samples) and not family.name.startswith(_OURS)


def _show(family: Metric) -> None:
    """Raises what showing it would raise."""

    class One(Collector):
        def collect(self) -> Iterator[Metric]:
            yield family

    alone = CollectorRegistry(auto_describe=False)
    alone.register(One())
    for wish in ("text/plain", "application/openmetrics-text"):
        encode, _ = choose_encoder(wish)
        encode(alone)
