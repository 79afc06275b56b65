"""What can't be read is put aside, never lost without a word, and never keeps the others waiting."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from aimic.adapters import kafka_dead
from aimic.adapters.kafka_dead import DeadLetters
from aimic.adapters.kafka_producer import Headers
from aimic.errors import UnavailableError
from aimic.events import DEAD, MESSAGE_BYTES

PLACE = ("aimic.tasks", 3)


class Topic:
    """The dead-letter topic, which may be away."""

    def __init__(self) -> None:
        self.away = False
        self.letters: list[tuple[bytes, bytes, dict[str, bytes]]] = []

    def append(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        assert topic == DEAD
        if self.away:
            raise UnavailableError("away")
        self.letters.append((key, value, dict(headers)))


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    monkeypatch.setattr(kafka_dead, "AGAIN_S", 0.0)
    return Topic()


def _record(offset: int, value: bytes | None = b"junk", key: bytes | None = b"k") -> Any:
    return SimpleNamespace(topic=PLACE[0], partition=PLACE[1], offset=offset, key=key, value=value)


def test_a_letter_says_why_and_where_from(topic: Topic) -> None:
    DeadLetters(topic.append, "trainers").put(_record(7), "no JSON")
    ((key, value, headers),) = topic.letters
    assert (key, value) == (b"k", b"junk")
    expected = {"reason": "no JSON", "group": "trainers", "topic": "aimic.tasks", "partition": "3", "offset": "7"}
    assert headers == {name: fact.encode() for name, fact in (expected | {"bytes": "4"}).items()}


def test_nothing_and_too_much_are_put_aside_too(topic: Topic) -> None:
    letters = DeadLetters(topic.append, "g")
    letters.put(_record(1, value=None, key=None), "x" * 10_000)
    letters.put(_record(2, value=b"y" * 10 * MESSAGE_BYTES), "too long")
    assert topic.letters[0][:2] == (b"", b"") and len(topic.letters[0][2]["reason"]) <= 500
    assert len(topic.letters[1][1]) == MESSAGE_BYTES and topic.letters[1][2]["bytes"] == b"655360"


def test_while_the_topic_is_away_a_commit_stays_before_the_letter(topic: Topic) -> None:
    letters = DeadLetters(topic.append, "g")
    topic.away = True
    letters.put(_record(5), "a")
    letters.put(_record(9), "b")
    assert letters.before(PLACE) == 5 and letters.before(("aimic.tasks", 4)) is None
    letters.settle()
    assert letters.before(PLACE) == 5
    topic.away = False
    letters.settle()
    assert letters.before(PLACE) is None
    assert [headers["offset"] for _, _, headers in topic.letters] == [b"5", b"9"]


def test_a_partition_that_went_to_another_member_is_its_business(topic: Topic) -> None:
    letters = DeadLetters(topic.append, "g")
    topic.away = True
    letters.put(_record(5), "a")
    letters.forget(PLACE)
    topic.away = False
    letters.settle()
    assert topic.letters == [] and letters.before(PLACE) is None


@pytest.mark.parametrize(("limit", "value"), [("OWED_S", -1.0), ("OWED_MOST", 0)])
def test_nobody_waits_for_ever_and_giving_up_is_loud(
    topic: Topic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, limit: str, value: float
) -> None:
    letters = DeadLetters(topic.append, "g")
    topic.away = True
    letters.put(_record(5), "a")
    monkeypatch.setattr(kafka_dead, limit, value)
    letters.settle()
    assert letters.before(PLACE) is None
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (told.__dict__["topic"], told.__dict__["partition"], told.__dict__["offset"]) == (*PLACE, 5)
