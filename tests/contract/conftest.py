"""The event logs under contract."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from aimic.errors import UnavailableError
from tests.contract.event_logs import WAIT_S, KafkaLog, Log, SqliteLog
from tests.patience import patiently


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.servers)])
def log(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            yield SqliteLog(tmp_path / "events.db", stack, monkeypatch)
        else:
            yield KafkaLog(request.getfixturevalue("kafka_server"), stack, monkeypatch)


@pytest.fixture
def group(log: Log) -> str:
    """A group that no test had before."""
    name = f"trainers-{uuid4().hex}"
    patiently(lambda: log.settle(name), UnavailableError, 2 * WAIT_S)
    return name
