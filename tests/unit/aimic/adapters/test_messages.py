"""Records that are no messages are told apart, with reasons that don't repeat their content."""

import pytest

from aimic.adapters.messages import UnreadableError, read
from aimic.events import MESSAGE_BYTES, MESSAGES, TOPICS, TaskReady

READY = TaskReady(site="s", aggregate="t", sequence=3, kind="fold")


def test_a_message_is_read_and_a_newer_writers_fields_are_ignored() -> None:
    body = READY.model_dump_json()
    assert read(READY.topic, body.encode()) == READY
    assert read(READY.topic, body.replace("{", '{"new": 1, ', 1).encode()) == READY


def test_a_trace_travels_along_and_a_message_of_before_has_none() -> None:
    where = f"00-{'a' * 32}-{'b' * 16}-01"
    traced = READY.model_copy(update={"traceparent": where})
    assert read(READY.topic, traced.model_dump_json().encode()) == traced
    assert READY.model_dump_json(exclude={"traceparent"}) == (
        '{"format":1,"site":"s","aggregate":"t","sequence":3,"kind":"fold"}'
    )
    assert read(READY.topic, READY.model_dump_json(exclude={"traceparent"}).encode()) == READY


@pytest.mark.parametrize(
    ("topic", "value", "words"),
    [
        (READY.topic, None, "no value"),
        (READY.topic, b"", "JSON"),
        (READY.topic, b"\xff\xfe", "JSON"),
        (READY.topic, b"x" * (MESSAGE_BYTES + 1), f"{MESSAGE_BYTES + 1} bytes"),
        (READY.topic, READY.model_dump_json().replace('"format":1', '"format":2').encode(), "format"),
        (READY.topic, b'{"site": "secret", "aggregate": 5, "sequence": "secret"}', "kind"),
        ("aimic.others", READY.model_dump_json().encode(), "topic"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(topic: str, value: bytes | None, words: str) -> None:
    with pytest.raises(UnreadableError, match=words) as refused:
        read(topic, value)
    assert "secret" not in str(refused.value)


def test_every_message_has_a_topic_that_is_declared() -> None:
    assert {*MESSAGES, "aimic.dead"} == {topic.name for topic in TOPICS}
