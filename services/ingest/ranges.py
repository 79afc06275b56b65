"""Ranges of an answer (RFC 9110, section 14), as far as a broken download needs them: from a byte to the end."""

import re

_FROM = re.compile(r"bytes=(\d{1,18})-")


def begins_at(header: str | None, size: int) -> int:
    """The first byte asked for: 0 without a Range header, with one of another form, or one beyond the end.

    Ignoring a range is allowed; whoever asked sees by the status what they get.
    """
    found = _FROM.fullmatch(header or "")
    start = int(found[1]) if found else 0
    return start if start < size else 0
