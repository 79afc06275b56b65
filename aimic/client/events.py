"""Server-sent events (WHATWG HTML, section 9.2), followed over broken connections."""

import logging
from collections.abc import Iterable, Iterator
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


def follow(transport: Transport, path: str, last_id: str = "") -> Iterator[Event]:
    """Events from `path`, reconnecting with Last-Event-ID for ever; the caller stops when it has seen the end.

    UnavailableError or DeadlineError when the server stays away, other AimicErrors at once.
    """
    silent = 0
    while True:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        try:
            with transport.stream(path, headers=headers) as response:
                for event in parse(response.iter_lines(), last_id):
                    silent, last_id = 0, event.id
                    yield event
        except (UnavailableError, DeadlineError) as error:
            logger.info("event stream broke", extra={"path": path, "reason": error.message})
            if silent >= PATIENCE:
                raise
        # A stream that ended by itself and one that broke are the same to us: ask again, a bit later.
        if silent > PATIENCE * 10:
            raise UnavailableError("The server sends no more news of this. What it does goes on; look again later.")
        transport.retry.wait(min(silent, 4))
        silent += 1
