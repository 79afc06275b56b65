"""What the services stand on. Here: files and SQLite; real servers are in tests/faults/real.py."""

import sqlite3
from pathlib import Path
from typing import NamedTuple, Protocol

from sqlalchemy import Engine, create_engine


class Letters(NamedTuple):
    """Dead letters."""

    strange: tuple[str, ...]
    """Those that nobody planted."""
    lacking: tuple[str, ...]
    """Planted unreadable messages that nobody has put aside."""


class Ground(Protocol):
    """What a stack needs of its ground."""

    def start(self) -> None:
        """Start the servers."""

    def stop(self) -> None:
        """End the servers."""

    def environment(self) -> dict[str, str]:
        """Settings of the services, through the proxies."""

    def direct(self) -> dict[str, str]:
        """Settings of the suite itself, past the proxies."""

    def engine(self) -> Engine:
        """The records, past row-level security."""

    def break_(self, kind: str, server: str) -> None:
        """Let a server be `cut`, `slow`, or its disk `full`, until `heal`."""

    def empty_topics(self) -> None:
        """Delete every topic."""

    def poison(self, topic: str) -> None:
        """Put something unreadable into a topic."""

    def heal(self) -> None:
        """Everything works."""

    def letters(self) -> Letters:
        """What nobody could read."""


class Embedded:
    """Files and SQLite: no server to break."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to end."""

    def environment(self) -> dict[str, str]:
        """Files beside each other."""
        return {
            "AIMIC_BLOBS_URL": f"file://{self._home}/objects",
            "AIMIC_EVENTS_URL": f"sqlite:///{self._home}/events.db",
            "AIMIC_RECORDS_URL": f"sqlite:///{self._home}/records.db",
        }

    def direct(self) -> dict[str, str]:
        """The same."""
        return self.environment()

    def engine(self) -> Engine:
        """The records."""
        return create_engine(f"sqlite:///{self._home}/records.db")

    def break_(self, kind: str, server: str) -> None:
        """There is no server."""
        raise NotImplementedError(f"{kind} {server}: files and SQLite have no server")

    def empty_topics(self) -> None:
        """There are no topics."""
        raise NotImplementedError("files and SQLite have no topics")

    def poison(self, topic: str) -> None:
        """There are no topics."""
        raise NotImplementedError(f"{topic}: files and SQLite have no topics")

    def heal(self) -> None:
        """Nothing was broken."""

    def letters(self) -> Letters:
        """Whatever is in SQLite's own table of them."""
        with sqlite3.connect(self._home / "events.db") as events:
            return Letters(tuple(str(row) for row in events.execute("SELECT * FROM dead")), ())
