"""An OpenTelemetry collector as far as tests need one: it takes spans by OTLP over HTTP and keeps them."""

import http.server
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """One span that came."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    facts: dict[str, Any]


class Collector:
    """Listens on a port of its own while it is open."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._silent, self._over = threading.Event(), threading.Event()
        self.lets_wait = threading.Event()
        """Somebody waits in vain for an answer now."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def of_trace(self, trace: str) -> list[Span]:
        """The spans of a trace that came so far."""
        return [span for span in tuple(self._spans) if span.trace == trace]

    def until(self, trace: str, enough: Callable[[set[tuple[str, str]]], bool], seconds: float = 60) -> list[Span]:
        """The spans of a trace once `enough` (service, name) pairs of it are there."""
        end = time.monotonic() + seconds
        while not enough({(span.service, span.name) for span in self.of_trace(trace)}):
            assert time.monotonic() < end, sorted({(span.service, span.name) for span in self._spans})
            time.sleep(0.05)
        return self.of_trace(trace)

    def fall_silent(self) -> None:
        """From now on take what comes, and answer nothing until the end."""
        self._silent.set()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        spans, silent, over, lets_wait = self._spans, self._silent, self._over, self.lets_wait

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if silent.is_set():
                    lets_wait.set()
                    over.wait()
                    return
                if self.path == "/v1/traces":
                    spans.extend(read(ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def read(request: ExportTraceServiceRequest) -> list[Span]:
    """The spans in a request."""
    found = []
    for resource in request.resource_spans:
        (service,) = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                facts = {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}
                ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
                found.append(Span(service, span.name, *ids, facts))
    return found
