"""What every event log promises: at least once, to one member of a group, in order per key, from the end on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aimic.adapters import sqlite_events
from aimic.errors import UnavailableError
from aimic.events import JobProgressed, TaskReady
from aimic.ports.events import Events, Subscription

TOPICS = (TaskReady.topic,)
Open = Callable[[], Events]


@pytest.fixture(params=["sqlite"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """`connect()`: another process's view of the same log."""
    opened: list[Events] = []

    def make() -> Events:
        opened.append({"sqlite": sqlite_events.SqliteEvents}[request.param](tmp_path / "events.db"))
        return opened[-1]

    yield make
    for events in opened:
        events.close()


def _ready(task: str, sequence: int = 1) -> TaskReady:
    return TaskReady(site="local", aggregate=task, sequence=sequence, kind="fold")


def _drain(subscription: Subscription) -> list[tuple[str, int]]:
    found = []
    while deliveries := subscription.poll(0.2):
        found += [(delivery.key, delivery.message.sequence) for delivery in deliveries]
        subscription.commit()
    return found


def test_a_message_reaches_another_process_whole(connect: Open) -> None:
    subscription = connect().subscribe(TOPICS, "trainers")
    message = _ready("a", 7)
    connect().publish(message)
    (delivery,) = subscription.poll(2)
    assert delivery.message == message and delivery.topic == TaskReady.topic and delivery.key == "a"
    subscription.close()


def test_a_new_group_starts_at_the_end(connect: Open) -> None:
    events = connect()
    events.publish(_ready("before"))
    subscription = events.subscribe(TOPICS, "trainers")
    events.publish(_ready("after"))
    assert _drain(subscription) == [("after", 1)]
    subscription.close()


def test_what_was_not_committed_comes_again(connect: Open) -> None:
    events = connect()
    first = events.subscribe(TOPICS, "trainers")
    events.publish(_ready("a"))
    assert first.poll(2)
    first.close()
    second = events.subscribe(TOPICS, "trainers")
    assert _drain(second) == [("a", 1)]
    second.close()
    third = events.subscribe(TOPICS, "trainers")
    assert third.poll(0.2) == []
    third.close()


def test_messages_sent_while_nobody_of_the_group_listens_wait_for_it(connect: Open) -> None:
    events = connect()
    events.subscribe(TOPICS, "trainers").close()
    events.publish(_ready("a"))
    later = connect().subscribe(TOPICS, "trainers")
    assert _drain(later) == [("a", 1)]
    later.close()


def test_order_is_kept_per_key(connect: Open) -> None:
    events = connect()
    subscription = events.subscribe(TOPICS, "trainers")
    for sequence in range(20):
        for key in "abc":
            events.publish(_ready(key, sequence))
    found = _drain(subscription)
    for key in "abc":
        assert [sequence for name, sequence in found if name == key] == list(range(20))
    subscription.close()


def test_groups_do_not_take_from_each_other_and_topics_are_apart(connect: Open) -> None:
    events = connect()
    one, two = events.subscribe(TOPICS, "one"), events.subscribe((JobProgressed.topic, *TOPICS), "two")
    events.publish(_ready("a"))
    events.publish(JobProgressed(site="local", aggregate="j", sequence=3))
    assert _drain(one) == [("a", 1)]
    assert sorted(_drain(two)) == [("a", 1), ("j", 3)]
    one.close()
    two.close()


def test_a_member_that_leaves_hands_its_keys_to_the_others(connect: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_events, "HEARTBEAT_S", 0.05)
    events = connect()
    one, two = events.subscribe(TOPICS, "trainers"), connect().subscribe(TOPICS, "trainers")
    for _ in range(4):  # both are heard, and partitions change hands
        one.poll(0.1)
        two.poll(0.1)
    for number in range(40):
        events.publish(_ready(f"task{number}"))
    first, second = _drain(one), _drain(two)
    assert first and second and not set(first) & set(second)
    assert len(first) + len(second) == 40
    one.close()
    for number in range(40):
        events.publish(_ready(f"late{number}"))
    assert len(_drain(two)) == 40
    two.close()


def test_what_cannot_be_read_blocks_nothing(connect: Open) -> None:
    events = connect()
    subscription = events.subscribe(TOPICS, "trainers")
    strange = _ready("a").model_copy(update={"format": 99})
    events.publish(strange)
    events.publish(_ready("a", 2))
    assert _drain(subscription) == [("a", 2)]
    subscription.close()


def test_a_log_that_is_away_says_so(tmp_path: Path) -> None:
    (tmp_path / "events.db").mkdir()
    events = sqlite_events.SqliteEvents(tmp_path / "events.db")
    with pytest.raises(UnavailableError):
        events.ping()
