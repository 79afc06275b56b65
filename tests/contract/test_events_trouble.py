"""What every event log promises when members come and go, and when the log is away, emptied or full of rubbish."""

import contextlib
import sqlite3
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from aimic.adapters.kafka_config import cluster_of
from aimic.adapters.kafka_events import KafkaEvents
from aimic.adapters.sqlite_events import SqliteEvents
from aimic.errors import UnavailableError
from aimic.events import TaskReady
from aimic.ports.events import Events, Subscription
from aimic.settings import Settings
from tests.contract.event_logs import TOPICS, WAIT_S, Log, Member, drain, publish_until, ready, until
from tests.patience import patiently


def test_each_message_goes_to_one_of_the_members(log: Log, group: str) -> None:
    members = [Member(log, group) for _ in range(3)]
    events = log.connect()
    publish_until(events, lambda: all(member.heard for member in members), "first")
    for number in range(60):
        events.publish(ready(f"task{number}"))
    until(lambda: sum(key.startswith("task") for member in members for key in member.heard) >= 60)
    for member in members:
        member.leave()
    heard = Counter(key for member in members for key in member.heard if key.startswith("task"))
    assert set(heard) == {f"task{number}" for number in range(60)} and set(heard.values()) == {1}


@pytest.mark.parametrize("killed", [False, True])
def test_a_member_that_is_gone_hands_its_keys_to_the_others(log: Log, group: str, killed: bool) -> None:
    if killed:
        log.hurry()
    one, two = Member(log, group), Member(log, group)
    events = log.connect()
    publish_until(events, lambda: bool(one.heard and two.heard), "first")
    one.pause()
    log.kill(one.subscription) if killed else one.subscription.close()
    for number in range(40):
        events.publish(ready(f"late{number}"))
    until(lambda: len({key for key in two.heard if key.startswith("late")}) == 40)
    two.leave()
    if killed:
        with contextlib.suppress(UnavailableError, sqlite3.Error):
            one.subscription.close()


UNREADABLE = {
    "no JSON": b"hello",
    "no object": b"[1, 2]",
    "a later format": ready("a").model_copy(update={"format": 99}).model_dump_json().encode(),
    "fields missing": b'{"format": 1, "site": "local"}',
    "a wrong type": b'{"format": 1, "site": "local", "aggregate": "a", "sequence": "soon", "kind": "fold"}',
    "nothing": b"",
    "far too long": b'{"site": "' + b"x" * 100_000 + b'"}',
}


def test_what_cannot_be_read_blocks_nothing(log: Log, group: str) -> None:
    events = log.connect()
    subscription = events.subscribe(TOPICS, group)
    for number, body in enumerate(UNREADABLE.values()):
        log.append(TaskReady.topic, body)
        events.publish(ready("strange", number))
    assert drain(subscription, len(UNREADABLE)) == [("strange", number) for number in range(len(UNREADABLE))]
    subscription.close()
    again = events.subscribe(TOPICS, group)
    assert again.poll(1.5) == []
    again.close()


def test_when_every_topic_is_lost_publishing_and_listening_go_on(log: Log, group: str) -> None:
    """What was sent at that very moment may be lost; what is sent once the topic is heard again is not."""
    events = log.connect()
    member = Member(log, group)
    publish_until(events, lambda: bool(member.heard), "before")
    log.empty()
    publish_until(events, lambda: any(key.startswith("after") for key in member.heard), "after")
    for number in range(20):
        events.publish(ready(f"later{number}"))
    until(lambda: {f"later{number}" for number in range(20)} <= set(member.heard))
    member.leave()


def test_after_a_restart_everything_goes_on(log: Log, group: str) -> None:
    events = log.connect()
    member = Member(log, group)
    publish_until(events, lambda: bool(member.heard), "before")
    log.restart()
    patiently(lambda: events.publish(ready("after")), UnavailableError, 2 * WAIT_S)
    until(lambda: "after" in member.heard)
    member.leave()


def test_what_was_committed_stays_so_over_a_restart(log: Log, group: str) -> None:
    events = log.connect()
    subscription = events.subscribe(TOPICS, group)
    events.publish(ready("committed"))
    assert drain(subscription, 1) == [("committed", 1)]
    events.publish(ready("polled"))
    assert subscription.poll(WAIT_S)
    subscription.close()
    log.restart()
    later: list[Subscription] = []
    patiently(lambda: later.append(log.connect().subscribe(TOPICS, group)), UnavailableError, 2 * WAIT_S)
    assert drain(later[0], 1) == [("polled", 1)]
    later[0].close()


def test_a_log_that_is_away_says_so_in_seconds(tmp_path: Path) -> None:
    (tmp_path / "events.db").mkdir()
    away: list[Events] = [
        SqliteEvents(tmp_path / "events.db"),
        KafkaEvents(cluster_of(Settings(events_url="kafka://127.0.0.1:9"))),
    ]
    for events in away:
        for call in (events.ping, partial(events.publish, ready("a"))):
            started = time.monotonic()
            with pytest.raises(UnavailableError) as refused:
                call()
            assert refused.value.retry_after_s and time.monotonic() - started < 10
        events.close()
