"""Numbers and errors as a person says them."""

from typing import NamedTuple

from aimic.errors import AimicError, UnavailableError
from services.dashboard.views.markdown import plain

DASH = "–"
PUBLISHED = " (published protocol)"
"""Stands behind everything whose numbers that protocol made."""


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """`1 image`, `1,204 images`; an irregular plural is given as `nouns`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0…1 as `93.4 %`; a dash for what can't be said."""
    if share is None:
        return DASH
    if 0 < share < 0.5 / 100 / 10**digits:
        return f"<{10.0**-digits:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float | None) -> str:
    """A time that is only known roughly: `about 3 minutes`."""
    if seconds is None or seconds < 0:
        return ""
    if seconds < 20:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds / 10) * 10} seconds"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {plural(minutes, 'minute')}"
    return f"about {plural(round(minutes / 60), 'hour')}"


def size(number: int) -> str:
    """Bytes as `12 MB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return plural(number, "byte")


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


class Trouble(NamedTuple):
    """An error as the page shows it, in Markdown."""

    title: str
    text: str
    reference: str
    """What to tell support; empty where nobody has to be asked."""
    again: bool
    """Whether trying again is worth it."""


def trouble(error: AimicError) -> Trouble:
    """What happened, and what to do, without a word of code."""
    again = error.status in {429, 500, 503, 504}
    reference = str(error.details.get("request_id", "")) if error.status >= 500 else ""
    if isinstance(error, UnavailableError) and "isn't running" in error.message:
        return Trouble(
            "AIMIC's server is away",
            "Nothing that you saved is lost, and training that was running goes on when the server is back. "
            "If it doesn't come back in a minute, ask whoever looks after this computer to run `aimic up`.",
            "",
            True,
        )
    return Trouble(error.title, plain(error.message), reference, again)
