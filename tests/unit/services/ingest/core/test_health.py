"""What is away is known without waiting for it."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aimic.errors import UnavailableError
from services.ingest import health
from services.ingest.health import Health, Punctual, Watch


def _fails() -> None:
    raise UnavailableError("The store is away.")


def _fine() -> None:
    return


def _breaks() -> None:
    raise ValueError("the secret of the house")


def test_unready_until_reached_once_and_from_then_on_only_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pings = {"records": _fine, "objects": _fails, "events": _breaks}
    ending = threading.Event()
    looks = {name: lambda name=name: pings[name]() for name in pings}
    made = Health(looks, ending.is_set)
    for watch in made._watches:
        watch.look()
    assert made.not_ready() == "objects: The store is away."
    assert made.away() == {"objects": "The store is away.", "events": "it can't be used (ValueError)"}
    pings["objects"] = _fine
    made._watches[1].look()
    assert made.not_ready() is None
    pings["objects"] = _fails
    made._watches[1].look()
    assert made.not_ready() is None and set(made.away()) == {"objects", "events"}
    ending.set()
    assert made.not_ready() == "stopping"
    samples = {sample.labels["server"]: sample.value for family in health.UP.collect() for sample in family.samples}
    assert samples == {"records": 1, "objects": 0, "events": 0}


def test_a_look_that_hangs_means_away(monkeypatch: pytest.MonkeyPatch) -> None:
    let, inside = threading.Event(), threading.Event()

    def hangs() -> None:
        inside.set()
        assert let.wait(10)

    watch = Watch("objects", hangs)
    watch.start()
    try:
        assert inside.wait(5)
        monkeypatch.setattr(health, "LATE_S", 0.0)
        assert "hasn't answered" in (watch.away() or "")
    finally:
        watch.stop()
        let.set()


class Slow(Collector):
    """Values that come once it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.asked = 0

    def collect(self) -> Iterator[Metric]:
        """One value."""
        self.asked += 1
        assert self.let.wait(20)
        yield GaugeMetricFamily("answer", "a number", 42)


def test_values_that_are_late_are_left_out_and_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "METRICS_S", 0.05)
    slow = Slow()
    punctual = Punctual(slow)
    started = time.monotonic()
    assert list(punctual.collect()) == [] == list(punctual.collect())
    assert time.monotonic() - started < 8 and slow.asked == 1  # they come when they are let, not before
    slow.let.set()
    found: list[Any] = []
    while not found:
        found = list(punctual.collect())
    assert found[0].samples[0].value == 42
