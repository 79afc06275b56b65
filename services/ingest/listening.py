"""Hearing what other processes announced: one connection that listens, made again when it is lost.

It only shortens waiting. What was announced while nobody listened is found by polling.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import cast

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from services.ingest.database import CHANNEL, Database

logger = logging.getLogger(__name__)

LISTEN_S = 0.5
"""Seconds for which one look for notifications waits, so that an end is noticed."""
PROBE_S = 10.0
"""Seconds of silence after which the server is asked whether it is still there."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Listener:
    """A thread that hands each announced key to `wake`, and calls `wake_all` when it may have missed some."""

    def __init__(self, database: Database, wake: Callable[[str], None], wake_all: Callable[[], None]) -> None:
        self._database = database
        self._wake, self._wake_all = wake, wake_all
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self.listening = threading.Event()

    def start(self) -> None:
        """Begin to listen, where there is anybody to hear."""
        if self._database.shared:
            self._thread.start()

    def stop(self) -> None:
        """End within seconds."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(LISTEN_S * 4)

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                self._listen()
                pause = FIRST_PAUSE_S
            except (SQLAlchemyError, psycopg.Error):
                if self.listening.is_set():
                    pause = FIRST_PAUSE_S
                    logger.warning("no connection to listen on; the records are polled until there is one again")
            except Exception:
                logger.exception("listening failed; it is tried again, and the records are polled meanwhile")
            finally:
                self.listening.clear()
            self._stopping.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    def _listen(self) -> None:
        engine = self._database.ear()
        with engine.connect() as connection:
            wire = cast("psycopg.Connection", connection.connection.driver_connection)
            wire.execute(f"LISTEN {CHANNEL}")
            self.listening.set()
            self._wake_all()
            heard_at = time.monotonic()
            while not self._stopping.is_set():
                for notification in wire.notifies(timeout=LISTEN_S):
                    heard_at = time.monotonic()
                    self._hear(notification.payload)
                if time.monotonic() - heard_at > PROBE_S:
                    wire.execute("SELECT 1")
                    heard_at = time.monotonic()

    def _hear(self, payload: str) -> None:
        who, _, key = payload.partition(" ")
        if who != self._database.me:  # our own units of work woke us at their commit
            self._wake(key)
