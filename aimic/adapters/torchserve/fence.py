"""A model whose workers keep dying is fenced: it gets no requests until it was started again and answered."""

from collections import deque

_LONGEST_S = 300.0
_STEADY_S = 600.0
"""A model that ran this long after a fence is sound again: its next fence is as short as the first."""


class Fence:
    """Counts one model's deaths. Times are seconds of the monotonic clock, given by the caller."""

    def __init__(self, deaths: int, within_s: float, first_s: float) -> None:
        self._deaths = deaths
        self._within_s = within_s
        self._first_s = first_s
        self._died: deque[float] = deque(maxlen=deaths)
        self._closed = 0
        self.opened_at = 0.0
        """When the model was started again and answered; 0 before the first fence."""
        self.until: float | None = None
        """When it may be tried again; None while it is open."""
        self.words = ""
        """Why it is closed, for the caller who is turned away."""

    def died(self, now: float) -> None:
        """One of its workers ended; this closes the fence when they do so too often."""
        self._died.append(now)
        if self.until is None and len(self._died) == self._deaths and now - self._died[0] <= self._within_s:
            self.close(now, f"died {self._deaths} times within {self._within_s:g} s")

    def close(self, now: float, cause: str) -> None:
        """Keep requests away for a while, each time for longer. `cause` says what the program did."""
        if self.until is None and now - self.opened_at > _STEADY_S:  # it ran; a try that failed is no steady while
            self._closed = 0
        self.until = now + min(_LONGEST_S, self._first_s * 2**self._closed)
        self._closed += 1
        self.words = (
            f"The program that runs this model {cause}, so it gets no images for now; other models go on. It is "
            "started again after a pause. If this happens again, this service's log says why."
        )

    def open(self, now: float) -> None:
        """It was started again and answered."""
        self.until, self.words = None, ""
        self._died.clear()
        self.opened_at = now
