"""Asking again what a busy machine, or a server that rises just now, may refuse for a moment."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 60.0
_PAUSE_S = 0.2


def patiently(ask: Callable[[], T], passing: type[Exception], seconds: float = PATIENCE_S) -> T:
    """What `ask` returns; its error of the kind `passing` once that has not passed in `seconds`."""
    ends = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except passing:
            if time.monotonic() > ends:
                raise
        time.sleep(_PAUSE_S)
