"""Spans really go out, by both protocols; and an address at which nobody answers holds nothing up."""

import secrets
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as wire
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from aimic import tracing
from aimic.otlp import exporting_to
from aimic.telemetry import traceparent
from tests.serving.collector import Collector, Span, read

END_S = 60.0


class GrpcCollector(TraceServiceServicer):
    """The same over gRPC."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def Export(self, request: wire.ExportTraceServiceRequest, context: Any) -> wire.ExportTraceServiceResponse:
        self.spans += read(request)
        return wire.ExportTraceServiceResponse()


@pytest.fixture
def grpc_collector() -> Iterator[tuple[str, GrpcCollector]]:
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = GrpcCollector()
    add_TraceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", servicer
    server.stop(0).wait()


def _one_span(url: str, protocol: str) -> str:
    """Its trace's id, once it was sent."""
    trace = secrets.token_hex(16)
    tracing.begin_with(exporting_to("test", url, protocol))
    with tracing.span("work", f"00-{trace}-{secrets.token_hex(8)}-01", "server", {"http.route": "/a"}):
        pass
    tracing.end(END_S)
    return trace


def test_over_http() -> None:
    with Collector() as collector:
        (span,) = collector.of_trace(_one_span(collector.url, "http/protobuf"))
    assert (span.service, span.name, span.facts) == ("aimic-test", "work", {"http.route": "/a"})


def test_over_grpc(grpc_collector: tuple[str, GrpcCollector]) -> None:
    url, collector = grpc_collector
    trace = _one_span(url, "grpc")
    (span,) = collector.spans
    assert (span.trace, span.service, span.name) == (trace, "aimic-test", "work")


def test_what_a_caller_does_not_want_recorded_is_not() -> None:
    with Collector() as collector:
        trace, parent = secrets.token_hex(16), secrets.token_hex(8)
        tracing.begin_with(exporting_to("test", collector.url, "http/protobuf"))
        with tracing.span("work", f"00-{trace}-{parent}-00", "server"):
            assert traceparent.get().startswith(f"00-{trace}-")
        tracing.end(END_S)
        assert collector.of_trace(trace) == []


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_address_that_never_answers_holds_up_neither_work_nor_end(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and says nothing
        tracing.begin_with(exporting_to("test", f"http://127.0.0.1:{silent.getsockname()[1]}", protocol))
        for _ in range(3000):
            with tracing.span("work", kind="server"):
                pass
        tracing.hasten()
        ended = threading.Thread(target=tracing.end, args=(0.2,), daemon=True)
        ended.start()
        ended.join(END_S)
        assert not ended.is_alive()
