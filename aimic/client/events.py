"""Server-sent events (WHATWG HTML, section 9.2), followed over broken connections."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from aimic.client.transport import Transport
from aimic.errors import DeadlineError, UnavailableError

logger = logging.getLogger(__name__)

PATIENCE = 8
"""Connections in a row without a single event before we give up: with back-off, about half a minute."""


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

    UnavailableError or DeadlineError when the server stays away, other AimicErrors at once.
    """
    failures = 0
    drained = False
    while True:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        silent = True
        try:
            with transport.stream(path, headers=headers) as response:
                for event in parse(response.iter_lines(), last_id):
                    silent, failures, last_id = False, 0, event.id
                    yield event
            if silent and drained:
                return
            # Asked after the stream's end, so one more stream surely has all that there is.
            drained = over()
        except (UnavailableError, DeadlineError) as error:
            logger.info("event stream broke", extra={"path": path, "reason": error.message})
            failures += 1
            if failures > PATIENCE:
                raise
        if not drained:
            transport.retry.wait(min(failures, 5))
