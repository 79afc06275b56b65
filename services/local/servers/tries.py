"""What needs the network is tried three times, as scripts/thrice.sh does. Standard library only."""

import time
from collections.abc import Callable

from aimic.errors import UnavailableError

PAUSES_S = (5, 20)


def thrice(work: Callable[[], None]) -> None:
    """Do it; again after a while when it raises UnavailableError, which only the last try's gets through."""
    for pause in PAUSES_S:
        try:
            work()
            return
        except UnavailableError:
            print(f"That did not work; it is tried again in {pause} s …", flush=True)  # noqa: T201 - progress
            time.sleep(pause)
    work()
