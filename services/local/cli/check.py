"""One thing that `aimic doctor` looked at."""

from aimic.domain.base import Value


class Check(Value):
    """What was looked at and what was found."""

    name: str
    state: str
    """`ok`, `note` or `problem`."""
    words: str
