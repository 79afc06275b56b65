"""Hears wake-ups on a thread of its own, so that a long fold doesn't cost us our place in the group."""

import logging
import threading

from aimic.errors import AimicError
from aimic.events import TaskReady
from aimic.ports.events import Events, Subscription

logger = logging.getLogger(__name__)

GROUP = "aimic.trainers"
POLL_S = 0.5
"""Longest wait for a message before looking whether we should stop."""
AGAIN_S = 2.0
"""After trouble with the event log. Meanwhile the worker asks by itself."""
JOIN_S = 3.0


class Listener:
    """Commits what it hears at once and only sets a flag: a wake-up names no owner, and the records are the queue."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._told = False
        """Whether our log says that there is trouble."""
        self.traceparent = ""
        """The trace of the wake-up that was heard last and not forgotten."""

    def start(self) -> None:
        """Begin to listen, if we don't already."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wake-ups", daemon=True)
            self._thread.start()

    def forget(self) -> None:
        """What was heard so far is seen to: the worker asks now."""
        self._woken.clear()
        self.traceparent = ""

    def wait(self, seconds: float) -> bool:
        """Until a wake-up, at most `seconds`; whether there was one since `forget`."""
        return self._woken.wait(seconds)

    def stop(self) -> None:
        """Leave the group, within JOIN_S."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except Exception as error:  # whatever is wrong with the events, asking now and then does their work
                if not self._told:
                    reason = error.message if isinstance(error, AimicError) else repr(error)
                    logger.warning("no wake-ups for now; we ask now and then", extra={"reason": reason})
                self._told = True
                self._stopping.wait(AGAIN_S)

    def _listen(self) -> None:
        subscription = self._events.subscribe((TaskReady.topic,), GROUP)
        try:
            while not self._stopping.is_set():
                self._hear(subscription)
        finally:
            subscription.close()

    def _hear(self, subscription: Subscription) -> None:
        messages = subscription.poll(POLL_S)
        subscription.commit()
        self._told = False
        if messages:
            self.traceparent = messages[-1].message.traceparent
            self._woken.set()
