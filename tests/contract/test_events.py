"""What every event log promises: at least once, to one member of a group, in order per key, from the end on."""

from aimic.events import JobProgressed, TaskReady
from tests.contract.event_logs import TOPICS, WAIT_S, Log, drain, ready


def test_a_message_reaches_another_process_whole(log: Log, group: str) -> None:
    subscription = log.connect().subscribe(TOPICS, group)
    message = ready("a", 7)
    log.connect().publish(message)
    (delivery,) = subscription.poll(WAIT_S)
    assert delivery.message == message and delivery.topic == TaskReady.topic and delivery.key == "a"
    subscription.close()


def test_a_new_group_starts_at_the_end(log: Log, group: str) -> None:
    events = log.connect()
    events.publish(ready("before"))
    subscription = events.subscribe(TOPICS, group)
    events.publish(ready("after"))
    assert drain(subscription, 1) == [("after", 1)]
    subscription.close()


def test_what_was_not_committed_comes_again(log: Log, group: str) -> None:
    events = log.connect()
    first = events.subscribe(TOPICS, group)
    events.publish(ready("a"))
    assert first.poll(WAIT_S)
    first.close()
    second = events.subscribe(TOPICS, group)
    assert drain(second, 1) == [("a", 1)]
    second.close()
    third = events.subscribe(TOPICS, group)
    assert third.poll(1.5) == []
    third.close()


def test_messages_sent_while_nobody_of_the_group_listens_wait_for_it(log: Log, group: str) -> None:
    events = log.connect()
    events.subscribe(TOPICS, group).close()
    events.publish(ready("a"))
    later = log.connect().subscribe(TOPICS, group)
    assert drain(later, 1) == [("a", 1)]
    later.close()


def test_order_is_kept_per_key(log: Log, group: str) -> None:
    events = log.connect()
    subscription = events.subscribe(TOPICS, group)
    for sequence in range(20):
        for key in "abc":
            events.publish(ready(key, sequence))
    found = drain(subscription, 60)
    for key in "abc":
        assert [sequence for name, sequence in found if name == key] == list(range(20))
    subscription.close()


def test_groups_do_not_take_from_each_other_and_topics_are_apart(log: Log, group: str) -> None:
    events = log.connect()
    one, two = events.subscribe(TOPICS, f"{group}-1"), events.subscribe((JobProgressed.topic, *TOPICS), f"{group}-2")
    events.publish(ready("a"))
    events.publish(JobProgressed(site="local", aggregate="j", sequence=3))
    assert drain(one, 1) == [("a", 1)]
    assert sorted(drain(two, 2)) == [("a", 1), ("j", 3)]
    one.close()
    two.close()


def test_the_same_message_sent_again_is_harmless(log: Log, group: str) -> None:
    """What is sent ten times arrives up to ten times, in its place: who listens goes by the sequence."""
    events = log.connect()
    subscription = events.subscribe(TOPICS, group)
    for sequence in (1, *(2,) * 10, 1, 3):
        events.publish(ready("a", sequence))
    assert drain(subscription, 13) == [("a", sequence) for sequence in (1, *(2,) * 10, 1, 3)]
    subscription.close()
