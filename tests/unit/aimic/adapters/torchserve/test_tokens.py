"""Tokens: renewed at half of their life, and taken over from whoever renewed them first."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aimic.adapters.torchserve.tokens import KINDS, Tokens
from aimic.errors import UnavailableError


class Server:
    """Writes the file as TorchServe does: a new token of the kind that is asked for, with nine digits of a second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[tuple[str, str]] = []
        self.times: list[float] = []
        self.keys = {"API": {"key": "api"}}
        self.life = timedelta(minutes=10)
        for kind in KINDS:
            self.write(kind)

    def write(self, kind: str) -> None:
        ends = (datetime.now(UTC) + self.life).isoformat(timespec="microseconds").replace("+00:00", "789Z")
        self.keys[kind] = {"key": f"{kind} {len(self.asked)}", "expiration time": ends}
        self.path.write_text(json.dumps(self.keys))

    def ask(self, kind: str, key: str, timeout_s: float) -> None:
        self.times.append(timeout_s)
        self.asked.append((kind, key))
        self.write(kind)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "key_file.json")


@pytest.fixture
def tokens(server: Server) -> Tokens:
    return Tokens(server.path, 10, server.ask)


def test_it_reads_what_was_written(tokens: Tokens, server: Server) -> None:
    assert tokens.get("inference") == "inference 0" and tokens.get("management") == "management 0"
    left = tokens.expires("inference") - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)
    tokens.renew_due()
    assert server.asked == []


def test_half_of_its_life_is_enough(tokens: Tokens, server: Server) -> None:
    server.life = timedelta(minutes=4)
    server.write("inference")
    tokens.renew_due()
    assert server.asked == [("inference", "api")]
    assert tokens.get("inference") == "inference 1" and tokens.get("management") == "management 0"


def test_a_refused_token_is_renewed_once(tokens: Tokens, server: Server) -> None:
    assert tokens.newer("inference", "inference 0", 5) == "inference 1"
    assert tokens.newer("inference", "inference 0", 5) == "inference 1"
    assert server.asked == [("inference", "api")]


def test_a_renewal_takes_no_longer_than_its_caller_has(tokens: Tokens, server: Server) -> None:
    tokens.newer("inference", "inference 0", 0.5)
    assert 0 < server.times[0] <= 0.5


def test_what_another_renewed_is_taken_over(tokens: Tokens, server: Server) -> None:
    assert tokens.get("inference") == "inference 0"
    server.ask("inference", "another's", 5)
    assert tokens.newer("inference", "inference 0", 5) == "inference 1"
    assert server.asked == [("inference", "another's")]


def test_nobody_waits_for_long(server: Server) -> None:
    """While a renewal hangs, others still have the token they have, and end in time."""
    asked, answered = threading.Event(), threading.Event()

    def hang(_kind: str, _key: str, _timeout_s: float) -> None:
        asked.set()
        answered.wait(60)

    tokens = Tokens(server.path, 10, hang)
    assert tokens.get("inference") == "inference 0"
    renewing = threading.Thread(target=tokens.newer, args=("inference", "inference 0", 60))
    renewing.start()
    assert asked.wait(60)
    assert tokens.get("inference") == "inference 0"
    with pytest.raises(UnavailableError):
        tokens.newer("inference", "inference 0", 0.05)
    answered.set()
    renewing.join()


def test_a_file_that_vanished_is_written_anew(tokens: Tokens, server: Server) -> None:
    assert tokens.get("inference") == "inference 0"
    server.path.unlink()
    assert tokens.get("inference") == "inference 0"
    assert tokens.newer("inference", "inference 0", 5) == "inference 1"
    assert server.path.exists()


@pytest.mark.parametrize("left", [lambda path: path.unlink(), lambda path: path.write_text('{"API": {"k')])
def test_before_and_while_it_is_written(tokens: Tokens, server: Server, left: Callable[[Path], object]) -> None:
    left(server.path)
    with pytest.raises(UnavailableError, match="not up yet"):
        tokens.get("inference")
