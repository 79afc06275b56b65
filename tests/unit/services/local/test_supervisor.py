"""The order in which the tree ends."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.part import PartSpec
from services.local.supervisor import Supervisor

SCRIPT = """
import pathlib, signal, sys, time
home, name, other = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def end(*_):
    (home / f"{name}.asked").write_text(str(time.monotonic()))
    ends = time.monotonic() + 5
    while other and not (home / f"{other}.asked").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    time.sleep(0.2 if name == "trainer" else 0)
    (home / f"{name}.ended").write_text(str(time.monotonic()))
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
(home / f"{name}.up").touch()
time.sleep(60)
"""


@pytest.fixture
def handlers_kept() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ingest_is_asked_to_end_when_the_trainers_have_handed_their_work_back(
    tmp_path: Path, handlers_kept: None
) -> None:
    specs = [
        PartSpec(
            name=name, command=(sys.executable, "-c", SCRIPT, str(tmp_path), name, other), ends_late=name == "ingest"
        )
        # The first trainer ends when the second was asked too, or after 5 s: an end one after the other would be seen.
        for name, other in (("ingest", ""), ("trainer", "trainer-2"), ("trainer-2", ""))
    ]
    supervisor = Supervisor(tuple(specs), tmp_path)
    supervisor.stop_on_signals()

    def stop_when_all_are_up() -> None:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.glob("*.up"))) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    supervisor.run(stop_when_all_are_up)
    told = {path.name: float(path.read_text()) for path in tmp_path.glob("*ed")}
    assert told["ingest.asked"] >= max(told["trainer.ended"], told["trainer-2.ended"])
    # Side by side, not one after the other.
    assert told["trainer-2.asked"] < told["trainer.ended"]
