"""A record's bytes become a message, or a reason why not. The same for every event log."""

from pydantic import ValidationError

from aimic.events import MESSAGE_BYTES, MESSAGES, Message

_MOST_REASONS = 5


class UnreadableError(Exception):
    """Why a record is no message of ours, in words without its content."""


def read(topic: str, value: bytes | None) -> Message:
    """The message in a record's value; UnreadableError when there is none."""
    if value is None:
        raise UnreadableError("the record has no value")
    if len(value) > MESSAGE_BYTES:
        raise UnreadableError(f"the record has {len(value)} bytes, and no message has more than {MESSAGE_BYTES}")
    try:
        return MESSAGES[topic].model_validate_json(value)
    except KeyError:
        raise UnreadableError("no messages of ours belong into this topic") from None
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[:_MOST_REASONS]
        reasons = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}".lstrip(": ") for each in found)
        raise UnreadableError("; ".join(reasons)) from None
