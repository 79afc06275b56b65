"""Events in one SQLite file: for processes of one machine, with nothing else installed.

Messages are spread over PARTITIONS by their key. A group's partitions are dealt to its live members; a member
that wasn't heard of for MEMBER_S loses its own to the others, who go on from the committed position. So each
message goes to one member, in order per key, at least once.
"""

import contextlib
import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from aimic.adapters.messages import UnreadableError, read
from aimic.adapters.sqlite_events_schema import SCHEMA
from aimic.errors import UnavailableError
from aimic.events import Message
from aimic.ports.events import Delivery

logger = logging.getLogger(__name__)

PARTITIONS = 8
MEMBER_S = 10.0
HEARTBEAT_S = 3.0
KEPT = 100_000
"""Messages kept; older ones go, since the records hold the truth."""
BUSY_S = 10.0
"""Seconds for which one waits for another process."""
_TICK_S = 0.05
_AT_ONCE = 200


class SqliteEvents:
    """The Events port. Thread-safe; every subscription has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def publish(self, message: Message) -> None:
        """Durably append to the message's topic under its key."""
        partition = zlib.crc32(message.key.encode()) % PARTITIONS
        row = (message.topic, partition, message.key, message.model_dump_json(), time.time())
        with self._lock, _plain_errors():
            connection = self._connect()
            with _writing(connection):
                cursor = connection.execute("INSERT INTO log (topic, part, key, body, at) VALUES (?, ?, ?, ?, ?)", row)
                position = cursor.lastrowid or 0
                if position % 1000 == 0:
                    connection.execute("DELETE FROM log WHERE position < ?", (position - KEPT,))

    def subscribe(self, topics: tuple[str, ...], group: str) -> "SqliteSubscription":
        """Join `group`; a new group starts at the end of each topic."""
        with _plain_errors():
            connection = _open(self._path)
            try:
                return SqliteSubscription(connection, topics, group)
            except BaseException:
                connection.close()
                raise

    def losses(self) -> int:
        """None: the file stays as long as the process has it open."""
        return 0

    def ping(self) -> None:
        """Raise UnavailableError when the file can't be used."""
        with self._lock, _plain_errors():
            self._connect().execute("SELECT 1 FROM log LIMIT 1").fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _open(self._path)
        return self._connection


class SqliteSubscription:
    """One member of a group. For one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, topics: tuple[str, ...], group: str) -> None:
        self._connection = connection
        self._topics = topics
        self._group = group
        self._me = uuid4().hex
        self._polled: dict[tuple[str, int], int] = {}
        """Position up to which each partition of ours was handed out."""
        self._committed: dict[tuple[str, int], int] = {}
        self._beat_at = 0.0
        with _writing(connection):
            for topic in topics:
                end = connection.execute("SELECT coalesce(max(position), 0) FROM log WHERE topic = ?", (topic,))
                connection.executemany(
                    "INSERT OR IGNORE INTO claims (grp, topic, part, committed) VALUES (?, ?, ?, ?)",
                    [(group, topic, part, *end_row) for end_row in end.fetchall() for part in range(PARTITIONS)],
                )

    def poll(self, timeout_s: float) -> list[Delivery]:
        """Messages after the committed position; empty after `timeout_s`."""
        end = time.monotonic() + timeout_s
        version = None
        with _plain_errors():
            while True:
                beat = self._beat()
                seen = self._connection.execute("PRAGMA data_version").fetchone()
                if (seen != version or beat) and (found := self._read()):
                    return found
                version = seen
                left = end - time.monotonic()
                if left <= 0:
                    return []
                time.sleep(min(_TICK_S, left))

    def commit(self) -> None:
        """Everything polled so far is done with. What was taken from us meanwhile is left to its new owner."""
        if self._polled == self._committed:
            return  # listeners commit after each poll; a write that changes nothing would still wait for the disk
        with _plain_errors(), _writing(self._connection):
            for (topic, part), position in self._polled.items():
                self._connection.execute(
                    "UPDATE claims SET committed = ? WHERE grp = ? AND topic = ? AND part = ? AND owner = ?",
                    (position, self._group, topic, part, self._me),
                )
        self._committed = dict(self._polled)

    def close(self) -> None:
        """Leave the group; when the file can't be written, the others find out after MEMBER_S."""
        with contextlib.closing(self._connection), contextlib.suppress(sqlite3.Error), _writing(self._connection):
            self._connection.execute("DELETE FROM members WHERE member = ?", (self._me,))
            self._connection.execute("UPDATE claims SET owner = NULL WHERE owner = ?", (self._me,))

    def _beat(self) -> bool:
        """Say that we live, and take or give partitions so that each member has its share."""
        if time.monotonic() < self._beat_at:
            return False
        self._beat_at = time.monotonic() + HEARTBEAT_S
        with _writing(self._connection):
            now = time.time()
            for topic in self._topics:
                row = (self._group, topic, self._me, now)
                self._connection.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)", row)
            self._connection.execute("DELETE FROM members WHERE seen < ?", (now - MEMBER_S,))
            for topic in self._topics:
                self._balance(topic)
        return True

    def _balance(self, topic: str) -> None:
        select = "SELECT member FROM members WHERE grp = ? AND topic = ? ORDER BY member"
        members = [row[0] for row in self._connection.execute(select, (self._group, topic))]
        claims = self._connection.execute(
            "SELECT part, owner, committed FROM claims WHERE grp = ? AND topic = ?", (self._group, topic)
        ).fetchall()
        for part, owner, committed in claims:
            key = (topic, part)
            mine = members[part % len(members)] == self._me
            if owner == self._me and not mine and self._polled.get(key) == self._committed.get(key):
                self._own(key, None)
                self._polled.pop(key, None)
            elif mine and (owner is None or owner not in members):
                self._own(key, self._me)
                self._polled[key] = self._committed[key] = committed
            elif owner != self._me:
                self._polled.pop(key, None)

    def _own(self, key: tuple[str, int], owner: str | None) -> None:
        self._connection.execute(
            "UPDATE claims SET owner = ? WHERE grp = ? AND topic = ? AND part = ?", (owner, self._group, *key)
        )

    def _read(self) -> list[Delivery]:
        found: list[Delivery] = []
        for key, position in self._polled.items():
            rows = self._connection.execute(
                "SELECT position, key, body FROM log WHERE topic = ? AND part = ? AND position > ? "
                "ORDER BY position LIMIT ?",
                (*key, position, _AT_ONCE),
            ).fetchall()
            for at, name, body in rows:
                self._polled[key] = at
                if (message := self._understand(key[0], at, body)) is not None:
                    found.append(Delivery(topic=key[0], key=name, position=at, message=message))
        return sorted(found, key=lambda delivery: delivery.position)

    def _understand(self, topic: str, position: int, body: str) -> Message | None:
        """The message; what can't be read is put aside with the reason, and blocks nothing."""
        try:
            return read(topic, body.encode())
        except UnreadableError as error:
            logger.warning("a message can't be read and is put aside", extra={"topic": topic, "position": position})
            with _writing(self._connection):
                row = (self._group, topic, position, body, str(error))
                self._connection.execute("INSERT OR IGNORE INTO dead VALUES (?, ?, ?, ?, ?)", row)
            return None


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")
        for statement in SCHEMA:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """WAL mode. Two who open a new file at once would each wait for the other, so SQLite refuses one without a wait."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_TICK_S)
        else:
            return


@contextlib.contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise UnavailableError(f"The event log can't be used just now ({error}).", retry_after_s=2) from error
