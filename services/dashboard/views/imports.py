"""What the Data page says of an import, before, while and after it runs."""

from collections.abc import Sequence
from typing import NamedTuple

from aimic.client import Wait
from aimic.domain.dataset import Import, ImportStatus
from services.dashboard.views.markdown import plain
from services.dashboard.views.words import duration, listed, plural, size

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


class Chosen(NamedTuple):
    """The files that a person chose, by what they are."""

    archives: tuple[int, ...]
    """Indices of the archives; each is sent as it is."""
    loose: tuple[int, ...]
    """Indices of all others; they travel together."""
    in_folders: bool
    """Whether every loose file lies in a folder, which names its class."""


def chosen(names: Sequence[str]) -> Chosen:
    """Sort chosen files by what they are; the content decides later, on the server."""
    archives = tuple(i for i, name in enumerate(names) if name.lower().endswith(ARCHIVES))
    loose = tuple(i for i in range(len(names)) if i not in set(archives))
    # A chosen folder names its files `folder/class/file`: the class is the folder directly above the file.
    return Chosen(archives, loose, all("/" in names[i].strip("/") for i in loose))


def needs_class(files: Chosen, labels_known: bool) -> bool:
    """Whether the person has to say what the images show, because nothing else does."""
    return bool(files.loose) and not files.in_folders and not labels_known


def table_text(data: bytes) -> str:
    """The text of a labels table. Spreadsheets on Windows write cp1252 where they don't write UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


class Line(NamedTuple):
    """A progress bar and what is written on it; no fraction while the end isn't known."""

    fraction: float
    text: str


def sending(done: int, total: int) -> Line:
    """While bytes are on their way."""
    return Line(done / total if total else 0.0, f"Sending {size(done)} of {size(total)}")


def waiting(wait: Wait) -> Line:
    """While the server, or something behind it, is away: nothing has to be done."""
    return Line(wait.safe or 0.0, plain(wait.words))


def checking(state: Import, seconds: float) -> Line:
    """While images are checked; `seconds` is the time since the import began, for the estimate."""
    if state.phase == "waiting" and state.error:
        return Line(min(1.0, state.seen / state.total) if state.total else 0.0, f"Waiting: {state.error}")
    if state.total is None:
        return Line(0.0, "Looking through the files …")
    share = min(1.0, state.seen / state.total) if state.total else 1.0
    left = ""
    if state.seen >= 20 and share < 1:
        left = f", {duration(seconds * (1 - share) / share)} left"
    return Line(share, f"Checked {state.seen:,} of {plural(state.total, 'file')}{left}")


def outcome(state: Import) -> str:
    """One or two sentences at the end of an import."""
    if state.status is ImportStatus.FAILED:
        return state.error or "The import stopped. What was stored is kept; import the same files again to go on."
    parts = [f"{plural(state.stored, 'new image')} stored"]
    if state.known:
        parts.append(f"{state.known:,} there already")
    if state.refused:
        parts.append(f"{state.refused:,} refused")
    text = listed(parts)
    return text[0].upper() + text[1:] + "."
