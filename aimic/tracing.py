"""Traces (OpenTelemetry), when an endpoint is set.

Without one nothing of OpenTelemetry is imported: a `span` then costs a microsecond and only passes a caller's trace
context on. With one, spans go out in the background (aimic/otlp.py), and whatever becomes of them holds up nobody.
Names of files, patients and people never stand in a span: only ids, kinds, counts and what an operator named.
"""

import contextvars
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, Protocol

from aimic.settings import Settings
from aimic.telemetry import sane_traceparent, traceparent

logger = logging.getLogger(__name__)

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Facts = Mapping[str, str | int | float | bool]
"""Attributes by OpenTelemetry's names for them (semantic conventions), where it has one."""

MOST_RECORDED = 64
"""Steps that are recorded below one span; a request of hundreds of images says how many more there were."""


class Span:
    """Something that goes on. Here nothing is exported, so its methods do nothing."""

    def rename(self, name: str) -> None:
        """What it turned out to be."""

    def note(self, facts: Facts) -> None:
        """More of it."""

    def failed(self, words: str) -> None:
        """It went wrong; `words` tell no secret."""

    def record(self, name: str, seconds: float, ago_s: float = 0.0, facts: Facts | None = None) -> None:
        """A step below it that ended `ago_s` ago and took `seconds`."""


class Running(Span):
    """A span that is exported when it ends."""

    traceparent: str

    def end(self) -> None:
        """It is over."""


class Exporting(Protocol):
    """What makes spans and sends them away."""

    def start(self, name: str, parent: str, kind: Kind, facts: Facts) -> Running:
        """Begin a span; `parent` is a traceparent, or empty for the first of a trace."""

    def hasten(self) -> None:
        """Begin to send what waits, in the background."""

    def close(self, timeout_s: float) -> None:
        """Send what waits, for `timeout_s` at most."""


class _Process:
    """What this process exports by."""

    exporting: Exporting | None = None


_NOTHING = Span()
_current: contextvars.ContextVar[Span] = contextvars.ContextVar("span", default=_NOTHING)


def begin(service: str, settings: Settings) -> None:
    """Export spans from now on, if AIMIC_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT is set.

    SystemExit in words when that is no address.
    """
    if settings.otlp_endpoint:
        from aimic.otlp import exporting_to

        if unspoken := settings.unspoken_protocol():
            logger.warning(
                "OTEL_EXPORTER_OTLP_PROTOCOL names a protocol that isn't spoken here; traces go by http/protobuf. "
                "AIMIC_OTLP_PROTOCOL chooses between http/protobuf and grpc.",
                extra={"protocol": unspoken[:100]},
            )
        begin_with(exporting_to(service, settings.otlp_endpoint, settings.otlp_protocol))


def begin_with(exporting: Exporting | None) -> None:
    """Export by `exporting` from now on."""
    _Process.exporting = exporting


def hasten() -> None:
    """Begin to send what waits, in the background: an end of this process may come without a warning."""
    if _Process.exporting is not None:
        _Process.exporting.hasten()


def end(timeout_s: float = 2.0) -> None:
    """Send what waits, for `timeout_s` at most: the process ends, wherever the endpoint is."""
    exporting, _Process.exporting = _Process.exporting, None
    if exporting is not None:
        exporting.close(timeout_s)


@contextmanager
def span(name: str, parent: str = "", kind: Kind = "internal", facts: Facts | None = None) -> Iterator[Span]:
    """What is inside, as a part of the trace that `parent` names, or of what goes on now.

    Work that comes from outside (`server`, `consumer`) and names no parent begins a trace of its own.
    """
    above = sane_traceparent(parent) or ("" if kind in {"server", "consumer"} else traceparent.get())
    exporting = _Process.exporting
    if exporting is None:
        with _within(above, _NOTHING):
            yield _NOTHING
        return
    running = exporting.start(name, above, kind, facts or {})
    try:
        with _within(running.traceparent, running):
            yield running
    except Exception as error:
        running.failed(type(error).__name__)
        raise
    finally:
        running.end()


def current() -> Span:
    """The innermost span."""
    return _current.get()


@contextmanager
def _within(where: str, inner: Span) -> Iterator[None]:
    place, held = traceparent.set(where), _current.set(inner)
    try:
        yield
    finally:
        traceparent.reset(place)
        _current.reset(held)
