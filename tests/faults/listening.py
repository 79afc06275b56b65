"""A reader of every topic, in a group of its own: what the event log told, and what it could not."""

import contextlib
import threading
import time
from collections.abc import Callable

from aimic.errors import AimicError
from aimic.events import MESSAGES, JobProgressed, Message
from aimic.ports.events import Events, Subscription

GROUP = "aimic.faults"
START_S = 120.0
PROBES = 48
"""Messages that together reach every partition."""


class Ear:
    """Hears everything, on a thread of its own."""

    def __init__(self, connect: Callable[[], Events]) -> None:
        self._connect = connect
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._messages: list[Message] = []
        self._progress: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="ear", daemon=True)

    def start(self) -> None:
        """Begin, and return once everything that is said from now on will be heard: TimeoutError when it isn't."""
        self._thread.start()
        ends, names = time.monotonic() + START_S, {f"probe-{number}" for number in range(PROBES)}
        with contextlib.closing(self._connect()) as events:
            while not names <= self.progress().keys():
                if time.monotonic() > ends:
                    raise TimeoutError(f"the event log told the suite nothing in {START_S:.0f} s")
                for name in names:
                    events.publish(JobProgressed(site="suite", aggregate=name, sequence=1))
                self._over.wait(1.0)
        self.take()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self._thread.join(10)

    def progress(self) -> dict[str, int]:
        """The highest sequence told of each job."""
        with self._lock:
            return dict(self._progress)

    def take(self) -> list[Message]:
        """What was heard since the last question."""
        with self._lock:
            taken, self._messages = self._messages, []
            return taken

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                with contextlib.closing(self._connect()) as events:
                    self._listen(events.subscribe(tuple(MESSAGES), GROUP))
            except AimicError:
                self._over.wait(0.5)

    def _listen(self, subscription: Subscription) -> None:
        try:
            while not self._over.is_set():
                for delivery in subscription.poll(0.3):
                    self._hear(delivery.message)
                subscription.commit()
        finally:
            subscription.close()

    def _hear(self, message: Message) -> None:
        with self._lock:
            self._messages.append(message)
            if isinstance(message, JobProgressed):
                last = self._progress.get(message.aggregate, 0)
                self._progress[message.aggregate] = max(last, message.sequence)
