"""What `aimic predict` shows while it works, and what it says at the end."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from aimic.client.predict_images import printable
from aimic.client.problems import kind_of
from aimic.domain.prediction import Answer, ImageResult
from services.local.cli.session import err, number, table

SHOWN = 100
"""Up to so many images, each has its row; beyond, the counts say more."""
_ERRORS = 10
_LINE_S = 15.0
"""Where there is no terminal for a bar, as in a log file, a line comes at most this often."""


class Tally:
    """What has come so far."""

    def __init__(self, total: int, keep: bool) -> None:
        self.total = total
        self.done = 0
        self.last: Answer | None = None
        """The newest answer: all are of one model and version."""
        self.results: list[tuple[Path, ImageResult]] = []
        """All of them if they are to be shown."""
        self._keep = keep or total <= SHOWN
        self._started = time.monotonic()
        self._labels: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._refused: list[tuple[Path, ImageResult]] = []
        self.not_classified = 0

    def add(self, file: Path, result: ImageResult) -> None:
        """One more."""
        self.done += 1
        if self._keep:
            self.results.append((file, result))
        answer = result.answer
        if answer is None:
            self.not_classified += 1
            if len(self._refused) < _ERRORS:
                self._refused.append((file, result))
            return
        self.last = answer
        if answer.label is None:
            self._reasons[answer.reason or "no reason given"] += 1
        else:
            self._labels[answer.label] += 1

    @property
    def note(self) -> str:
        """Speed, errors and an estimate, in one line."""
        seconds = time.monotonic() - self._started
        rate = self.done / max(seconds, 1e-3)
        left = f", about {_duration((self.total - self.done) / rate)} left" if 0 < self.done < self.total else ""
        bad = f", {self.not_classified} not classified" if self.not_classified else ""
        return f"{rate:.0f} images/s{bad}{left}"

    def refuse_nothing(self) -> None:
        """Raise the first error when not one image was classified."""
        if self.last is not None or not self._refused:
            return
        file, result = self._refused[0]
        assert result.error is not None
        words = result.error.message
        if self.total > 1:
            words = f"None of the {self.done} images was classified. The first, {printable(file.name)}: {words}"
        raise kind_of(result.error.code)(words)

    def words(self) -> RenderableType:
        """The end, for people."""
        model = f"{self.last.model}:{self.last.version}, " if self.last else ""
        parts: list[RenderableType] = [f"{model}{self.done} of {self.total} images, {self.note}"]
        if self.total <= SHOWN:
            rows = [_shown(file, result) for file, result in self.results]
            return Group(*parts, table(("file", "class", "most probable"), rows))
        counts = [(label, f"{count:,}") for label, count in self._labels.most_common()]
        counts += [(f"no answer ({reason})", f"{count:,}") for reason, count in self._reasons.most_common()]
        parts.append(table(("class", "images"), counts))
        if self._refused:
            parts.append(f"Not classified: {self.not_classified}, of which the first are")
            parts.append(
                table(("file", "reason"), [(_name(f), r.error.message if r.error else "") for f, r in self._refused])
            )
        return Group(*parts)


class Progress:
    """A bar on standard error, or lines where there is no terminal; a context manager."""

    def __init__(self, tally: Tally, quiet: bool) -> None:
        self._tally = tally
        self._quiet = quiet
        self._last_line = time.monotonic()
        self._bars = Bars(
            TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=err, disable=quiet or not err.is_terminal,
        )  # fmt: skip
        self._bar = self._bars.add_task("images", total=tally.total, note="")

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def told(self) -> None:
        """The tally has changed."""
        self._bars.update(self._bar, completed=self._tally.done, note=self._tally.note)
        if not (self._quiet or err.is_terminal) and time.monotonic() - self._last_line > _LINE_S:
            self._last_line = time.monotonic()
            err.print(f"{self._tally.done} of {self._tally.total} images, {self._tally.note}", soft_wrap=True)


def _name(file: Path) -> str:
    return printable(file.name)


def _shown(file: Path, result: ImageResult) -> tuple[str, str, str]:
    if result.answer is None:
        return _name(file), "–", result.error.message if result.error else ""
    best = sorted(result.answer.probabilities.items(), key=lambda item: -item[1])[:3]
    shares = ", ".join(f"{label} {number(share, 3)}" for label, share in best)
    return _name(file), result.answer.label or f"no answer ({result.answer.reason})", shares


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
