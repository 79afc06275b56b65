"""Structured logs with request and trace ids. Metrics are declared beside what they measure."""

import contextvars
import json
import logging
import re
import sys
import uuid
from datetime import UTC, datetime

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
traceparent: contextvars.ContextVar[str] = contextvars.ContextVar("traceparent", default="")
"""Where we are in a trace (W3C Trace Context, `00-TRACE-SPAN-FLAGS`), or nothing. A caller's is kept and passed on
also where we export no spans of our own."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_CURRENT_VERSION_LENGTH = 55
_LONGEST_ID = 64

_SERVICE: dict[str, str] = {}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def new_request_id() -> str:
    """A fresh id for a request or a unit of background work."""
    return uuid.uuid4().hex


def sane_request_id(text: str) -> str:
    """What a caller sent as its request's id, or a fresh one in place of what would be none in a log or a header."""
    return text if 0 < len(text) <= _LONGEST_ID and text.isascii() and text.isprintable() else new_request_id()


def sane_traceparent(text: str) -> str:
    """What a caller sent as `traceparent`, in the form of version 00; empty when it is none."""
    found = _TRACEPARENT.fullmatch(text) if len(text) <= 2 * _CURRENT_VERSION_LENGTH else None
    if found is None or (text.startswith("00") and len(text) != _CURRENT_VERSION_LENGTH):
        return ""
    return f"00-{found[1]}-{found[2]}-{found[3]}"


def trace_id() -> str:
    """32 hex digits of the trace that this belongs to, or nothing."""
    return traceparent.get()[3:35]


def exemplar() -> dict[str, str] | None:
    """For `Histogram.observe`: the trace behind a measured value, if it is one that is recorded."""
    current = traceparent.get()
    return {"trace_id": current[3:35]} if current and int(current[-2:], 16) & 1 else None


def outgoing() -> dict[str, str]:
    """Headers that carry the request id and the trace to the next service."""
    found = {"x-request-id": request_id.get(), "traceparent": traceparent.get()}
    return {name: value for name, value in found.items() if value}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, trace and span id, and what `extra` named."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        row = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            row["request_id"] = current
        if current := traceparent.get():
            row["trace_id"], row["span_id"] = current[3:35], current[36:52]
        row.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


def service_name() -> str:
    """What this process is, as `setup_logging` was told; empty before that."""
    return _SERVICE.get("name", "")


def setup_logging(service: str, level: str = "INFO") -> None:
    """Send every logger of this process to standard error as JSON lines."""
    _SERVICE["name"] = service
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
