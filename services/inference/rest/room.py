"""How much a request may bring by naming it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """At most `most` images of at most `image_bytes`; `hold` is told of bytes before they are kept, and may refuse."""

    most: int
    image_bytes: int
    hold: Callable[[int], None]
