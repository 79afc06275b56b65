"""Which of our servers are away: looked at in the background, so that probes and metrics never wait for one.

**Readiness stays green while a shared server is away.** The database and the store are the same for every replica:
were each to call itself unready, Kubernetes would take all of them out of the Service at once, and callers would get
a refused connection, or a proxy's page, in place of our 503 with a sentence and Retry-After; running uploads and
event streams would be cut, and `aimic up` would call the platform broken. So a replica is unready until it has
reached what it needs once (a wrong password or a missing route is then noticed by the roll-out, which stops), and
from then on only while it ends. What is away is in the body of `/readyz` and in `aimic_ingest_server_up`, which is
what to alert on.
"""

import threading
import time
from collections.abc import Callable, Mapping

from prometheus_client import Gauge

from aimic.errors import AimicError
from services.ingest.dependencies import Ingest

EVERY_S, AWAY_EVERY_S = 5.0, 1.0
LATE_S = 10.0
"""A look that takes longer means away, too."""
NEEDED = frozenset({"records", "objects"})
"""Without these no request can be answered; without the events everything goes on, trainers just look less often."""
UP = Gauge("aimic_ingest_server_up", "1 when the server answered the last look, else 0", ["server"])


class Watch:
    """Looks at one server again and again, on a thread of its own."""

    def __init__(self, name: str, ping: Callable[[], None]) -> None:
        self.name = name
        self.reached = False
        """Whether it answered at least once."""
        self._ping = ping
        self._asked_at: float | None = None
        self._reason: str | None = "it was not looked at yet"
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name=f"health {self.name}", daemon=True).start()

    def stop(self) -> None:
        """Look no more; a look that hangs is left to the process's end."""
        self._stopping.set()

    def away(self) -> str | None:
        """Why the server can't be used, or None."""
        asked = self._asked_at
        if asked is not None and time.monotonic() - asked > LATE_S:
            return f"it hasn't answered for {time.monotonic() - asked:.0f} s"
        return self._reason

    def up(self) -> float:
        """1 when it can be used, else 0."""
        return float(self.away() is None)

    def look(self) -> None:
        """Ask once."""
        self._asked_at = time.monotonic()
        try:
            self._ping()
        except AimicError as error:
            self._reason = error.message
        except Exception as error:  # whatever a client raises: a watch that ends would say nothing for ever
            self._reason = f"it can't be used ({type(error).__name__})"
        else:
            self._reason, self.reached = None, True
        self._asked_at = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(EVERY_S if self._reason is None else AWAY_EVERY_S)


class Health:
    """All servers of this process."""

    def __init__(self, pings: Mapping[str, Callable[[], None]], ending: Callable[[], bool] = lambda: False) -> None:
        self._ending = ending
        self._watches = [Watch(name, ping) for name, ping in pings.items()]
        for watch in self._watches:
            UP.labels(watch.name).set_function(watch.up)

    @classmethod
    def of(cls, parts: Ingest) -> "Health":
        """Of ingest's three servers."""
        pings = {"records": parts.database.ping, "objects": parts.blobs.ping, "events": parts.events.ping}
        return cls(pings, parts.signals.stopping.is_set)

    def start(self) -> None:
        """Begin to look."""
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Look no more."""
        for watch in self._watches:
            watch.stop()

    def away(self) -> dict[str, str]:
        """The servers that can't be used now, each with the reason."""
        return {watch.name: reason for watch in self._watches if (reason := watch.away()) is not None}

    def needed_away(self) -> bool:
        """Whether one is away without which no request can be answered."""
        return not NEEDED.isdisjoint(self.away())

    def not_ready(self) -> str | None:
        """Why no request should come here: a server that is needed was never reached, or we are going."""
        if self._ending():
            return "stopping"
        waited = [watch for watch in self._watches if watch.name in NEEDED and not watch.reached]
        return f"{waited[0].name}: {waited[0].away()}" if waited else None
