"""Hearing what others announce: whatever happens, listening goes on."""

import threading
from typing import Any, cast

import pytest

from services.ingest import listening
from services.ingest.database import Database
from services.ingest.listening import Listener


class Broken:
    """Records whose ear fails in a way that nobody foresaw."""

    shared = True

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    def ear(self) -> Any:
        self.asked.release()
        raise RuntimeError("unforeseen")


def test_an_unforeseen_error_does_not_end_the_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "FIRST_PAUSE_S", 0.01)
    records = Broken()
    listener = Listener(cast(Database, records), lambda key: None, lambda: None)
    listener.start()
    try:
        assert all(records.asked.acquire(timeout=5) for _ in range(3))
    finally:
        listener.stop()
