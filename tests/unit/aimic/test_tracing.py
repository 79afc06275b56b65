"""Traces: nothing where no endpoint is set, and nothing waits for one that is away."""

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from aimic import tracing
from aimic.client.transport import Transport
from aimic.otlp import EXPORTED, MADE, Exported, Told, exporting_to
from aimic.settings import Settings
from aimic.telemetry import exemplar, outgoing, request_id, sane_traceparent, trace_id, traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


class Kept(SpanExporter):
    """Keeps what it is given; may be made to hang or to fail."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go_on.wait(300)
        if self.fails:
            raise OSError("refused")
        self.spans += spans
        return SpanExportResult.SUCCESS

    def named(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.spans if span.name == name]
        return found


@pytest.fixture
def kept() -> Iterator[Kept]:
    exporter = Kept()
    tracing.begin_with(Exported("test", Told(exporter, "collector")))
    yield exporter
    exporter.go_on.set()
    tracing.end(10)


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (GIVEN, GIVEN),
        (f"01-{TRACE}-{SPAN}-01-more", GIVEN),
        (f"00-{TRACE}-{SPAN}-01-more", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (GIVEN.upper(), ""),
        (GIVEN + "\n", ""),
        ("x" * 10_000, ""),
        ("", ""),
    ],
)
def test_only_a_sane_trace_context_is_taken_over(sent: str, taken: str) -> None:
    assert sane_traceparent(sent) == taken


def test_without_an_endpoint_a_callers_trace_is_passed_on_and_nothing_is_imported() -> None:
    token = request_id.set("r1")
    with tracing.span("GET", GIVEN, "server") as span:
        assert trace_id() == TRACE and outgoing() == {"x-request-id": "r1", "traceparent": GIVEN}
        assert exemplar() == {"trace_id": TRACE}
        span.record("decode", 0.1)
        with tracing.span("GET", "nonsense", "server"):
            assert traceparent.get() == "" and exemplar() is None
    request_id.reset(token)
    assert traceparent.get() == ""
    # FastAPI brings OpenTelemetry's API along; the SDK and the exporters come with an endpoint only.
    check = (
        "import sys, aimic.tracing as t; from aimic.settings import Settings; t.begin('x', Settings());"
        "import services.trainer.app, services.inference.app;"
        "sys.exit(any(n.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for n in sys.modules))"
    )
    assert subprocess.run((sys.executable, "-c", check), env={"PYTHONPATH": sys.path[0]}, check=False).returncode == 0


def test_spans_of_one_trace_hang_together(kept: Kept) -> None:
    with tracing.span("GET", GIVEN, "server", {"http.route": "/a"}) as outer:
        outer.rename("GET /a")
        with tracing.span("inner"):
            tracing.current().record("step", 0.25, ago_s=1.0)
            here = traceparent.get()
    tracing.end(10)
    inner, step, server = kept.named("inner"), kept.named("step"), kept.named("GET /a")
    assert {f"{span.context.trace_id:032x}" for span in (inner, step, server)} == {TRACE}
    assert server.parent is not None and f"{server.parent.span_id:016x}" == SPAN
    assert inner.parent is not None and inner.parent.span_id == server.context.span_id
    assert step.parent is not None and step.parent.span_id == inner.context.span_id
    assert here == f"00-{TRACE}-{inner.context.span_id:016x}-01"
    assert step.start_time is not None and step.end_time is not None
    assert step.end_time - step.start_time == 250_000_000
    assert server.resource.attributes["service.name"] == "aimic-test"


def test_a_request_of_the_client_is_a_span_that_the_server_is_told(kept: Kept) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=[])

    transport = Transport("http://aimic.test", http=httpx.Client(transport=httpx.MockTransport(answer)))
    with tracing.span("page train", GIVEN, "server"):
        transport.get("/api/v1/jobs")
        with transport.stream("/api/v1/jobs/1/events"):
            pass
        page = traceparent.get()
    tracing.end(10)
    call = kept.named("GET")
    assert call.parent is not None and f"{call.parent.span_id:016x}" == page[36:52]
    told = [request.headers["traceparent"] for request in asked]
    assert told == [f"00-{TRACE}-{call.context.span_id:016x}-01", page]


def test_what_comes_from_outside_without_a_trace_begins_one(kept: Kept) -> None:
    with tracing.span("outer", GIVEN, "server"), tracing.span("message", kind="consumer"):
        assert trace_id() not in {"", TRACE}


def test_an_error_is_noted_without_its_words(kept: Kept) -> None:
    with pytest.raises(RuntimeError), tracing.span("work"):
        raise RuntimeError("the secret of the house")
    tracing.end(10)
    span = kept.named("work")
    assert span.status.description == "RuntimeError" and "secret" not in span.to_json()


def test_steps_beyond_the_limit_are_counted(kept: Kept) -> None:
    with tracing.span("large") as span:
        for _ in range(tracing.MOST_RECORDED + 5):
            span.record("step", 0.001)
    tracing.end(10)
    assert len(kept.spans) == tracing.MOST_RECORDED + 1
    assert dict(kept.named("large").attributes or {}) == {"aimic.steps_left_out": 5}


def test_a_receiver_that_hangs_holds_up_neither_the_work_nor_the_end(kept: Kept) -> None:
    kept.go_on.clear()
    for _ in range(5000):  # more than the queue takes
        with tracing.span("work"):
            pass
    tracing.hasten()
    ended = threading.Thread(target=tracing.end, args=(0.2,))
    ended.start()
    ended.join(10)
    assert not ended.is_alive() and not kept.go_on.is_set() and kept.spans == []


def test_a_loss_is_counted_and_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aimic.otlp")
    inner = Kept()
    told = Told(inner, "collector")
    exporting = Exported("test", told)
    before = EXPORTED.labels("lost")._value.get(), EXPORTED.labels("sent")._value.get()
    for number in range(4):
        inner.fails = number < 3
        exporting.start("work", "", "internal", {}).end()
        exporting.flush()
    exporting.close(10)
    assert EXPORTED.labels("lost")._value.get() - before[0] == 3
    assert EXPORTED.labels("sent")._value.get() - before[1] == 1
    words = [record.getMessage() for record in caplog.records]
    assert words == ["traces can't be delivered; the work goes on without them", "traces are delivered again"]


def test_what_a_full_queue_drops_is_made_and_never_sent(kept: Kept) -> None:
    """And what nobody wants recorded is not counted."""
    before = [MADE._value.get(), *(EXPORTED.labels(result)._value.get() for result in ("sent", "lost"))]
    kept.go_on.clear()
    for _ in range(5000):
        with tracing.span("work"):
            pass
    with tracing.span("work", GIVEN[:-1] + "0", "server"):
        pass
    kept.go_on.set()
    tracing.end(60)
    after = [MADE._value.get(), *(EXPORTED.labels(result)._value.get() for result in ("sent", "lost"))]
    made, sent, lost = (now - then for now, then in zip(after, before, strict=True))
    assert (made, sent, lost) == (5000, len(kept.spans), 0) and 0 < sent < 5000


@pytest.mark.parametrize(
    "endpoint",
    ["collector:4317", "ftp://collector", "http://", "nonsense", "http://[::1", "http://here:99999", "http://here:x"],
)
def test_an_address_that_is_none_is_said_at_the_start(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="AIMIC_OTLP_ENDPOINT"):
        tracing.begin("test", Settings(home=tmp_path, otlp_endpoint=endpoint))


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_both_protocols_are_spoken(protocol: str) -> None:
    exporting = exporting_to("test", "http://127.0.0.1:1", protocol)
    exporting.close(5)


def test_the_standards_own_variable_counts_after_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://theirs:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    settings = Settings(home=tmp_path)
    assert (settings.otlp_endpoint, settings.otlp_protocol) == ("http://theirs:4318", "grpc")
    monkeypatch.setenv("AIMIC_OTLP_ENDPOINT", "http://ours:4318")
    assert Settings(home=tmp_path).otlp_endpoint == "http://ours:4318"


@pytest.mark.parametrize("protocol", ["http/json", "another"])
def test_a_protocol_of_the_standard_that_we_do_not_speak_is_said_and_stops_nothing(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    settings = Settings(home=tmp_path, otlp_endpoint="http://127.0.0.1:1")
    assert settings.otlp_protocol == "http/protobuf"
    tracing.begin("test", settings)
    tracing.end(5)
    (said,) = [record for record in caplog.records if "isn't spoken here" in record.getMessage()]
    assert vars(said)["protocol"] == protocol
    assert not Settings(home=tmp_path, otlp_protocol="http/protobuf").unspoken_protocol()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert not Settings(home=tmp_path).unspoken_protocol()
