"""A run as a list of steps, each with its time, told as they happen and kept in a file."""

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Report:
    """What was done, said and measured."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def say(self, text: str) -> None:
        """One or more lines, now and in the file."""
        print(text, flush=True)
        self._lines.append(text)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside; a failure is told and goes on upwards."""
        started = time.monotonic()
        try:
            yield
        except BaseException as error:
            self.say(f"FAILED {name} after {time.monotonic() - started:.0f} s: {error}")
            raise
        self.say(f"{time.monotonic() - started:6.1f} s  {name}")

    def keep(self, path: Path, arguments: str, revision: str) -> None:
        """Write everything that was said."""
        now = datetime.datetime.now(tz=datetime.UTC)
        head = f"Output of `python -m tests.cluster {arguments}`, {now:%Y-%m-%d %H:%M} UTC, at {revision}.\n\n"
        path.write_text(head + "\n".join(self._lines) + "\n", encoding="utf-8")
