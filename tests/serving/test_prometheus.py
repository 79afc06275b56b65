"""A real Prometheus scrapes the real service, and a collector gets its traces: the same ids are in all of them."""

import math
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from aimic.rpc.v1 import inference_pb2 as wire
from aimic.rpc.v1.inference_pb2_grpc import InferenceStub
from scripts.metrics import exported, rows
from services.local.servers.prometheus import Prometheus
from tests.pods import Pod, address, export, picture, registry
from tests.serving.collector import Collector

RULES = Path(__file__).parents[2] / "k8s" / "alerts" / "aimic.rules.yaml"
QUANTILE = "histogram_quantile(0.99, sum by (le, model, version) (rate(aimic_inference_total_seconds_bucket[1m])))"
IN_TIME_S = 60.0


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def pod(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    traced = {"AIMIC_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with (
        registry(*export(tmp_path_factory.mktemp("bundle"))) as server,
        Pod(tmp_path_factory.mktemp("home"), address(server), **traced) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def prometheus(pod: Pod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(tmp_path_factory.mktemp("prometheus"), {"inference": pod.ops}, (RULES,)) as running:
        yield running


def _trace() -> tuple[str, dict[str, str]]:
    """The id of a trace that begins here, and the header that carries it."""
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}


def _quantile(prometheus: Prometheus) -> float:
    found = prometheus.ask("query", query=QUANTILE)["result"]
    return float(found[0]["value"][1]) if found else math.nan


def test_a_quantile_of_latency_and_its_exemplars_can_be_asked_for(pod: Pod, prometheus: Prometheus) -> None:
    traces: set[str] = set()
    end = time.monotonic() + IN_TIME_S
    # Predictions go on, since a rate is what is added between two scrapes.
    while math.isnan(quantile := _quantile(prometheus)):
        assert time.monotonic() < end
        trace, headers = _trace()
        assert pod.ask(picture(len(traces)), **headers).status_code == 200
        traces.add(trace)
    assert 0 < quantile <= 10
    assert prometheus.ask("query", query=QUANTILE)["result"][0]["metric"] == {"model": "cells", "version": "1"}
    (up,) = prometheus.ask("query", query='aimic_ready{service="inference"}')["result"]
    assert up["value"][1] == "1"

    while not _exemplars(prometheus) & traces:
        assert time.monotonic() < end
        time.sleep(0.2)


def _exemplars(prometheus: Prometheus) -> set[str]:
    now = time.time()
    question = {"query": "aimic_inference_total_seconds_bucket", "start": str(now - 300), "end": str(now + 1)}
    return {
        exemplar["labels"]["trace_id"]
        for series in prometheus.ask("query_exemplars", **question)
        for exemplar in series["exemplars"]
    }


def test_prometheus_takes_our_rules_and_they_name_what_is_exported(prometheus: Prometheus) -> None:
    end = time.monotonic() + IN_TIME_S
    found = _rules(prometheus)
    while any(rule["health"] != "ok" for rule in found):
        assert time.monotonic() < end, found
        time.sleep(0.2)
        found = _rules(prometheus)
    named = {name for rule in found for name in re.findall(r"\baimic_\w+", str(rule["query"]))}
    assert len(found) > 10 and named <= exported().keys()


def _rules(prometheus: Prometheus) -> list[dict[str, object]]:
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def test_what_the_service_exports_is_on_the_page(pod: Pod) -> None:
    assert pod.ask(picture(1)).status_code == 200
    told = {name.removesuffix("_total"): (kind, set(labels)) for name, kind, labels, *_ in rows()}
    plain, open_metrics = pod.metrics(), pod.metrics("application/openmetrics-text; version=1.0.0")
    assert plain.headers["content-type"].startswith("text/plain")
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    families = [each for each in text_string_to_metric_families(plain.text) if each.name.startswith("aimic_")]
    for family in families:
        if family.name.endswith("_created"):
            continue
        kind, labels = told[family.name]
        assert family.type == kind
        assert all(set(sample.labels) - {"le"} == labels for sample in family.samples)
    seen = {family.name for family in families if family.samples}
    assert {f"aimic_inference_{step}_seconds" for step in ("decode", "queue", "compute", "total")} <= seen
    assert "aimic_inference_model_info" in seen and "aimic_inference_models_memory_bytes" in seen


def test_a_request_is_one_trace_over_rest(pod: Pod, collector: Collector) -> None:
    trace, headers = _trace()
    answer = pod.ask(picture(1), picture(2), **headers)
    spans = collector.until(trace, lambda names: len(names) == 4)
    (server,) = [span for span in spans if span.parent == headers["traceparent"][36:52]]
    assert server.name == "POST /inference/v1/models/{name}/predict" and server.service == "aimic-inference"
    assert server.facts["aimic.request_id"] == answer.headers["x-request-id"]
    assert (server.facts["aimic.model"], server.facts["aimic.version"], server.facts["aimic.images"]) == (
        "cells",
        "1",
        2,
    )
    steps = [span.name for span in spans if span.parent == server.id]
    assert sorted(steps) == ["compute", "compute", "decode", "decode", "queue", "queue"]


def test_a_call_is_one_trace_over_grpc(pod: Pod, collector: Collector) -> None:
    trace, headers = _trace()
    request = wire.PredictRequest(model="cells", images=[wire.Image(data=picture(3))])
    with pod.channel() as channel:
        stub = InferenceStub(channel)
        metadata = tuple(headers.items())
        stub.Predict(request, timeout=30, metadata=metadata)
        spans = collector.until(trace, lambda names: len(names) == 4)
        assert {span.name for span in spans} == {"Predict", "decode", "queue", "compute"}

        trace, headers = _trace()
        with pytest.raises(grpc.RpcError):
            stub.Predict(wire.PredictRequest(model="none"), timeout=30, metadata=tuple(headers.items()))
    (failed,) = collector.until(trace, lambda names: len(names) == 1)
    assert failed.facts["rpc.response.status_code"] == "INVALID_ARGUMENT"


def test_the_log_names_request_and_trace(pod: Pod) -> None:
    trace, headers = _trace()
    assert pod.ask(b"no image", **headers, **{"x-request-id": "seen-1"}).status_code == 422
    end = time.monotonic() + IN_TIME_S
    while not (lines := [line for line in pod.lines() if line.get("request_id") == "seen-1"]):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert {line["trace_id"] for line in lines} == {trace}
    assert any(line["message"] == "request" and line["status"] == 422 for line in lines)


def test_a_call_can_be_found_in_the_log_by_either_id(pod: Pod) -> None:
    trace, headers = _trace()
    metadata = (*headers.items(), ("x-request-id", "seen-2"))
    with pod.channel() as channel:
        InferenceStub(channel).Predict(
            wire.PredictRequest(model="cells", images=[wire.Image(data=picture(4))]), timeout=30, metadata=metadata
        )
    end = time.monotonic() + IN_TIME_S
    while not (lines := [line for line in pod.lines() if line.get("trace_id") == trace]):
        assert time.monotonic() < end
        time.sleep(0.05)
    (call,) = [line for line in lines if line["message"] == "call"]
    assert (call["request_id"], call["method"], call["code"]) == ("seen-2", "Predict", "OK")


def test_a_collector_that_falls_silent_costs_no_request_and_no_end(pod: Pod, collector: Collector) -> None:
    """The last one: it ends the pod."""
    collector.fall_silent()
    end = time.monotonic() + IN_TIME_S
    while not collector.lets_wait.is_set():
        assert time.monotonic() < end and pod.ask(picture(5)).status_code == 200
    for number in range(20):  # would each wait for the collector, they took minutes
        assert pod.ask(picture(number)).status_code == 200
    pod.stop()
    assert pod.process.returncode == 0
