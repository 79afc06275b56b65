"""Spans by OpenTelemetry's SDK, sent by OTLP over HTTP or gRPC. Imported only where an endpoint is set.

Spans wait in a queue of fixed length, which a thread empties. What the endpoint doesn't take is counted and told once;
while it is slow, the oldest of a full queue are dropped: they were made (MADE) and are never sent. Sampling and the
queue are set by the standard variables (OTEL_TRACES_SAMPLER, OTEL_BSP_SCHEDULE_DELAY, OTEL_RESOURCE_ATTRIBUTES,
OTEL_EXPORTER_OTLP_HEADERS, …_CERTIFICATE).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from urllib.parse import urlsplit

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import Counter

from aimic.tracing import MOST_RECORDED, Facts, Kind, Running

logger = logging.getLogger(__name__)

EXPORTED = Counter(
    "aimic_traces_spans_total",
    "Spans of traces that were offered to the receiver, by what became of them: sent or lost",
    ["result"],
)
MADE = Counter(
    "aimic_traces_spans_made_total",
    "Spans of traces that ended and are to be sent; those beyond sent and lost wait (2048 at most, as the standard "
    "has it) or were dropped from a full queue",
)
TIMEOUT_S = 5
_NS = 1_000_000_000
_KINDS = {kind.name.lower(): kind for kind in trace.SpanKind}
_PATH = "/v1/traces"


def exporting_to(service: str, endpoint: str, protocol: str) -> "Exported":
    """Spans of `service`, sent to the OTLP receiver at `endpoint` (`http(s)://host:port`, which gets /v1/traces)."""
    host = _host(endpoint)
    # Its own lines would come with every batch that fails; ours come once (Told).
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return Exported(service, Told(_exporter(endpoint, protocol), host))


def _host(endpoint: str) -> str:
    with suppress(ValueError):  # a bracket that isn't closed, or a port that is none
        parts = urlsplit(endpoint)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts.hostname
    raise SystemExit(
        "AIMIC_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_ENDPOINT) is no http(s)://host:port, so traces could go "
        "nowhere. Correct it, or leave it unset. Nothing was started."
    )


def _exporter(endpoint: str, protocol: str) -> SpanExporter:
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(endpoint, insecure=endpoint.startswith("http:"), timeout=TIMEOUT_S)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    session = requests.Session()
    session.trust_env = False  # proxies of the environment are not for our own parts
    address = endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH
    return HttpExporter(address, timeout=TIMEOUT_S, session=session)


class Told(SpanExporter):
    """Counts what another exporter sends and loses, and says once when it begins to lose, and when that ends."""

    def __init__(self, inner: SpanExporter, host: str) -> None:
        self._inner = inner
        self._host = host
        self._away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; whether that was done."""
        try:
            result = self._inner.export(spans)
        except Exception:  # whatever a library raises on the background thread: the next batch is tried again
            result = SpanExportResult.FAILURE
        lost = result is not SpanExportResult.SUCCESS
        EXPORTED.labels("lost" if lost else "sent").inc(len(spans))
        if lost and not self._away:
            logger.warning("traces can't be delivered; the work goes on without them", extra={"host": self._host})
        elif self._away and not lost:
            logger.info("traces are delivered again", extra={"host": self._host})
        self._away = lost
        return result

    def shutdown(self) -> None:
        """Let go of connections."""
        self._inner.shutdown()


class Counting(SpanProcessor):
    """Counts what is to be sent; the queue behind it drops without a word."""

    def on_end(self, span: ReadableSpan) -> None:
        """A span is over; one that isn't sampled goes nowhere."""
        if span.context is not None and span.context.trace_flags.sampled:
            MADE.inc()


class Exported:
    """Makes spans, by a provider that is this process's own and not OpenTelemetry's global one: libraries that would
    trace by themselves (FastAPI does) stay silent."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        facts = {"service.name": f"aimic-{service}", "service.version": metadata.version("aimic")}
        # Its own wait at the process's end would hold that up for half a minute.
        self._provider = TracerProvider(resource=Resource.create(facts), shutdown_on_exit=False)
        self._provider.add_span_processor(Counting())
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("aimic")

    def start(self, name: str, parent: str, kind: Kind, facts: Facts) -> "Recorded":
        """Begin a span."""
        return Recorded(self._tracer, name, parent, kind, facts)

    def flush(self) -> None:
        """Send what waits, now."""
        self._provider.force_flush()

    def hasten(self) -> None:
        """Begin to send what waits."""
        self._apart(self.flush)

    def close(self, timeout_s: float) -> None:
        """Send what waits, for `timeout_s` at most."""
        self._apart(self._provider.shutdown).join(timeout_s)

    def _apart(self, work: Callable[[], object]) -> threading.Thread:
        """On a thread that keeps no process from ending."""
        thread = threading.Thread(target=work, name="traces", daemon=True)
        thread.start()
        return thread


class Recorded(Running):
    """A span of OpenTelemetry's."""

    def __init__(self, tracer: trace.Tracer, name: str, parent: str, kind: Kind, facts: Facts) -> None:
        self._tracer = tracer
        self._span = tracer.start_span(name, _context(parent), _KINDS[kind], facts)
        self._recorded = 0
        found = self._span.get_span_context()
        self.traceparent = f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"

    def rename(self, name: str) -> None:
        """What it turned out to be."""
        self._span.update_name(name)

    def note(self, facts: Facts) -> None:
        """More of it."""
        self._span.set_attributes(facts)

    def failed(self, words: str) -> None:
        """It went wrong."""
        self._span.set_status(trace.StatusCode.ERROR, words)

    def record(self, name: str, seconds: float, ago_s: float = 0.0, facts: Facts | None = None) -> None:
        """A step below it, which is over."""
        self._recorded += 1
        if self._recorded > MOST_RECORDED:
            return
        ended = time.time_ns() - round(ago_s * _NS)
        begun = ended - round(seconds * _NS)
        step = self._tracer.start_span(name, _context(self.traceparent), attributes=facts, start_time=begun)
        step.end(ended)

    def end(self) -> None:
        """It is over."""
        if self._recorded > MOST_RECORDED:
            self.note({"aimic.steps_left_out": self._recorded - MOST_RECORDED})
        self._span.end()


def _context(parent: str) -> Context:
    """OpenTelemetry's context for a traceparent; ours is the only one that counts, so an empty one is a root."""
    if not parent:
        return Context()
    flags = trace.TraceFlags(int(parent[53:], 16))
    found = trace.SpanContext(int(parent[3:35], 16), int(parent[36:52], 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(found), Context())
