"""TorchServe's tokens: read from the file it writes for us, renewed before they expire.

There is one token for predictions and one for models, each good for a while; a third, which stays, asks for new ones.
A new one ends the old one at once, so a call that is refused may just have been overtaken: it takes the newer one and
goes again.
"""

import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from aimic.errors import UnavailableError

KINDS = ("inference", "management")
Keys = dict[str, dict[str, str]]


class Tokens:
    """The tokens of one TorchServe. Thread-safe."""

    def __init__(self, key_file: Path, minutes: float, ask: Callable[[str, str, float], None]) -> None:
        """`ask(kind, key, timeout_s)` makes TorchServe write a new token of that kind, in a short time that is no
        longer than that, or not at all."""
        self._key_file = key_file
        self._margin = timedelta(minutes=minutes / 2)
        self._ask = ask
        self._renewing = Lock()
        self._keys: Keys = {}

    def get(self, kind: str) -> str:
        """The token of that kind; it never waits. UnavailableError before TorchServe wrote any."""
        return (self._keys or self._read())[kind]["key"]

    def expires(self, kind: str) -> datetime:
        """When it ends."""
        return datetime.fromisoformat((self._keys or self._read())[kind]["expiration time"])

    def newer(self, kind: str, refused: str, timeout_s: float) -> str:
        """The token after the one that was refused: what another renewed meanwhile, else a new one.

        UnavailableError or DeadlineError when there is none within the time.
        """
        ends = time.monotonic() + timeout_s
        if not self._renewing.acquire(timeout=max(0.0, timeout_s)):
            raise UnavailableError("TorchServe gives no new token in time. Ask again.", retry_after_s=1)
        try:
            with suppress(UnavailableError):  # the file may have vanished: a renewal writes it anew
                self._read()
            if self.get(kind) == refused:
                self._renew(kind, ends - time.monotonic())
            return self.get(kind)
        finally:
            self._renewing.release()

    def renew_due(self) -> None:
        """Renew what has passed half of its life."""
        for kind in KINDS:
            if datetime.now(UTC) >= self.expires(kind) - self._margin:
                with self._renewing:
                    self._renew(kind, math.inf)

    def _renew(self, kind: str, timeout_s: float) -> None:
        self._ask(kind, self._keys["API"]["key"], timeout_s)
        self._read()

    def _read(self) -> Keys:
        try:
            keys: Keys = json.loads(self._key_file.read_bytes())
        except (OSError, ValueError):  # not written yet, or half
            keys = {}
        if not {*KINDS, "API"} <= set(keys):
            raise UnavailableError("TorchServe is not up yet. Ask again in a few seconds.", retry_after_s=2)
        self._keys = keys
        return keys
