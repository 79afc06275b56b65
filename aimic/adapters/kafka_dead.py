"""What a group can't read, on its way to the dead-letter topic."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aimic.adapters.kafka_metrics import DEAD_LETTERS
from aimic.adapters.kafka_producer import Headers
from aimic.errors import UnavailableError
from aimic.events import DEAD, MESSAGE_BYTES

logger = logging.getLogger(__name__)

AGAIN_S = 10.0
OWED_S = 600.0
OWED_MOST = 100
_REASON_BYTES = 500
Append = Callable[[str, bytes, bytes, Headers], None]
Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True)
class Letter:
    """A record that could not be read."""

    place: Place
    offset: int
    key: bytes
    value: bytes
    headers: Headers
    since: float = field(default_factory=time.monotonic)


class DeadLetters:
    """Puts what can't be read into the dead-letter topic, for one member of a group.

    While that topic is away, reading goes on and the letter is owed: the committed position stays before it, so
    that a crash doesn't lose it, and it is tried again every AGAIN_S. Nobody waits for ever: after OWED_S, or with
    OWED_MOST of them, the oldest is given up, loudly: an error in our log names its place, where the record itself
    stays until its topic's retention ends.
    """

    def __init__(self, append: Append, group: str) -> None:
        self._append = append
        self._group = group
        self._owed: list[Letter] = []
        self._again_at = 0.0

    def put(self, record: Any, why: str) -> None:
        """Put a record of kafka-python's aside with the reason."""
        logger.warning("a message can't be read and is put aside", extra={**_where(record), "reason": why})
        letter = Letter(
            place=(record.topic, record.partition),
            offset=record.offset,
            key=(record.key or b"")[:MESSAGE_BYTES],
            value=(record.value or b"")[:MESSAGE_BYTES],
            headers=self._headers(record, why),
        )
        if self._owed or not self._sent(letter):
            self._owed.append(letter)

    def settle(self) -> None:
        """Try again what is owed, now and then; give up what is owed for too long."""
        if not self._owed or time.monotonic() < self._again_at:
            return
        while self._owed and self._sent(self._owed[0]):
            del self._owed[0]
        while len(self._owed) > OWED_MOST or (self._owed and time.monotonic() - self._owed[0].since > OWED_S):
            self._give_up(self._owed.pop(0))

    def before(self, place: Place) -> int | None:
        """The position that must not be passed by a commit of this partition, if there is one."""
        return min((letter.offset for letter in self._owed if letter.place == place), default=None)

    def forget(self, place: Place) -> None:
        """The partition is another member's now, which starts at the committed position and reads it all again."""
        self._owed = [letter for letter in self._owed if letter.place != place]

    def forget_all(self) -> None:
        """The connection is made anew, and what is owed is read again."""
        self._owed.clear()

    def _sent(self, letter: Letter) -> bool:
        try:
            self._append(DEAD, letter.key, letter.value, letter.headers)
        except UnavailableError as error:
            self._again_at = time.monotonic() + AGAIN_S
            logger.warning("the dead-letter topic is away; it is tried again", extra={"reason": error.message})
            return False
        DEAD_LETTERS.labels(letter.place[0], self._group, "topic").inc()
        return True

    def _give_up(self, letter: Letter) -> None:
        topic, partition = letter.place
        where = {"topic": topic, "partition": partition, "offset": letter.offset, "group": self._group}
        logger.error("the dead-letter topic can't be written; an unreadable message stays where it is", extra=where)
        DEAD_LETTERS.labels(topic, self._group, "log").inc()

    def _headers(self, record: Any, why: str) -> Headers:
        facts = {
            "reason": why[:_REASON_BYTES],
            "group": self._group,
            **{name: str(fact) for name, fact in _where(record).items()},
            "bytes": str(len(record.value or b"")),
        }
        return [(name, fact.encode()) for name, fact in facts.items()]


def _where(record: Any) -> dict[str, Any]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
