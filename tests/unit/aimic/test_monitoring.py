"""Values that others hold don't hold up or spoil our own."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aimic import monitoring
from aimic.monitoring import Foreign, Punctual, families_of

TORCHSERVE = """\
# HELP ts_inference_requests_total Torchserve prometheus counter metric with unit: Count
# TYPE ts_inference_requests_total counter
ts_inference_requests_total{model_name="cells",model_version="default",hostname="pod",} 3.0
# HELP QueueTime Torchserve prometheus gauge metric with unit: Milliseconds
# TYPE QueueTime gauge
QueueTime{Level="Host",Hostname="pod",} 0.0
"""


class Slow(Collector):
    """Values that come once it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.asked = 0

    def collect(self) -> Iterator[Metric]:
        """One value."""
        self.asked += 1
        assert self.let.wait(10)
        yield GaugeMetricFamily("answer", "a number", 42)

    def describe(self) -> Iterator[Metric]:
        """The family."""
        yield GaugeMetricFamily("answer", "a number")


def test_values_that_are_late_are_left_out_and_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "PUNCTUAL_S", 0.05)
    slow = Slow()
    punctual = Punctual(slow)
    assert list(punctual.collect()) == [] == list(punctual.collect())
    assert slow.asked == 1 and not slow.let.is_set()  # so neither question waited for it
    slow.let.set()
    found: list[Any] = []
    end = time.monotonic() + 10
    while not found and time.monotonic() < end:
        found = list(punctual.collect())
    assert found[0].samples[0].value == 42


def test_a_program_that_hangs_is_said_and_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "PUNCTUAL_S", 0.05)
    let = threading.Event()
    asked: list[int] = []

    def read() -> str:
        asked.append(1)
        assert let.wait(60)
        return TORCHSERVE

    foreign = Foreign(read, "its_metrics_up")
    registry = CollectorRegistry(auto_describe=True)
    registry.register(Punctual(foreign, foreign.away))
    assert asked == []  # to be known is not to be asked
    for _ in range(3):
        text = generate_latest(registry).decode()
        assert "its_metrics_up 0.0" in text and "ts_inference" not in text
    assert len(asked) <= 1
    let.set()


def test_another_programs_metrics_keep_their_names() -> None:
    found = {family.name: family for family in families_of(TORCHSERVE)}
    assert set(found) == {"ts_inference_requests", "QueueTime"}
    (sample,) = found["ts_inference_requests"].samples
    assert sample.name == "ts_inference_requests_total" and sample.value == 3
    assert sample.labels == {"model_name": "cells", "model_version": "default", "hostname": "pod"}


@pytest.mark.parametrize(
    "broken",
    [
        "# TYPE bad gauge\nbad{a=1} 2\n",
        '# TYPE bad gauge\nbad{a="1" 2\n',
        "# TYPE bad\nbad 1\n",
        "# HELP\n# TYPE bad gauge\nbad one\n",
        "# TYPE bad histogramm\nbad 1\n",
        "# HELP aimic_inference_models_loaded ours\n# TYPE aimic_inference_models_loaded gauge\n"
        "aimic_inference_models_loaded 7\n",
        "# TYPE bad gauge\n\x00\ufffd{}}{ 1\n",
    ],
)
def test_a_part_that_makes_no_sense_costs_only_itself(broken: str) -> None:
    for text in (broken + TORCHSERVE, TORCHSERVE + broken):
        assert {family.name for family in families_of(text)} == {"ts_inference_requests", "QueueTime"}


def test_too_much_is_cut_off() -> None:
    many = "".join(f'# TYPE m{n} gauge\nm{n}{{a="{n}"}} 1\n' for n in range(monitoring.MOST_SAMPLES + 10))
    assert sum(len(family.samples) for family in families_of(many)) == monitoring.MOST_SAMPLES
    assert families_of("x" * (monitoring.MOST_BYTES + 1)) == []


def test_a_family_in_two_pieces_is_shown_once() -> None:
    (family,) = families_of('# TYPE q gauge\nq{a="1"} 1\n# TYPE q gauge\nq{a="2"} 2\n# TYPE q counter\nq 3\n')
    assert [sample.value for sample in family.samples] == [1, 2]


def test_a_program_that_does_not_answer_is_said_and_ours_are_shown() -> None:
    answers: list[str | Exception] = [OSError("refused"), TORCHSERVE]

    def read() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    registry = CollectorRegistry()
    registry.register(Foreign(read, "its_metrics_up"))
    assert "its_metrics_up 0.0" in generate_latest(registry).decode()
    text = generate_latest(registry).decode()
    assert "its_metrics_up 1.0" in text and "ts_inference_requests_total{" in text
