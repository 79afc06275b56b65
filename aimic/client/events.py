"""Server-sent events (WHATWG HTML, section 9.2), followed over broken connections."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from aimic.client.transport import Transport
from aimic.errors import AimicError, DeadlineError, OverloadedError, UnavailableError

logger = logging.getLogger(__name__)

PATIENCE_S = 600.0
"""Seconds of waiting without a single event before we give up."""


class Event(NamedTuple):
    """One event; `id` is the last id seen, as the specification has it."""

    id: str
    kind: str
    data: str


def parse(lines: Iterable[str], last_id: str = "") -> Iterator[Event]:
    """The events of a stream of lines. A half event at the end (a broken connection) is not one."""
    kind, data = "", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Event(last_id, kind or "message", "\n".join(data))
            kind, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            last_id = value


def follow(transport: Transport, path: str, over: Callable[[], bool], last_id: str = "") -> Iterator[Event]:
    """Events from `path`, reconnecting with Last-Event-ID until a stream ends with nothing new and `over()`.

    While the server is away, or turns us away for now, it waits and says so (Retry.waiting); UnavailableError or
    DeadlineError after PATIENCE_S, other AimicErrors at once.
    """
    failures, waited = 0, 0.0
    drained = False
    reason: AimicError | None = None
    while True:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        silent = True
        try:
            with transport.stream(path, headers=headers) as response:
                for event in parse(response.iter_lines(), last_id):
                    silent, failures, waited, last_id = False, 0, 0.0, event.id
                    yield event
            if silent and drained:
                return
            # Asked after the stream's end, so one more stream surely has all that there is.
            drained = over()
            reason = None
        except (UnavailableError, DeadlineError, OverloadedError) as error:
            logger.info("event stream broke", extra={"path": path, "reason": error.message})
            failures, reason = failures + 1, error
            if waited > PATIENCE_S:
                raise
        if not drained:
            waited += transport.retry.wait(failures, because=reason)
